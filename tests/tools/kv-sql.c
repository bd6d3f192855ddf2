/*
 * kv-sql FILE SQL: runs SQL on a file of the state that no node uses. The pages get the checksums
 * that they need, so only what the SQL did is wrong afterwards; sqlite3 would leave wrong ones.
 */
#include <stdio.h>

#include "lib/store/sqlite_util.h"

int main(int argc, char **argv)
{
    sqlite3 *db = NULL;
    struct err err = {0};
    int frames, moved;
    if (argc != 3) {
        fputs("usage: kv-sql FILE SQL\n", stderr);
        return 2;
    }
    int rc = sq_open(argv[1], SQ_WRITE | SQ_SUMS, &db, &err);
    if (rc == 0)
        rc = sq_exec(db, "PRAGMA locking_mode=EXCLUSIVE", &err);
    if (rc == 0)
        rc = sq_exec(db, argv[2], &err);
    if (rc == 0)
        rc = sq_checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, &frames, &moved, &err);
    sq_close(db);
    if (rc == 0)
        return 0;
    fprintf(stderr, "kv-sql: %s\n", err.text);
    return 1;
}

/*
 * The parent makes the scratch directory, waits, and deletes it; the child copies, looks and
 * prints. So neither a signal nor a failed assertion leaves a copy behind.
 */
#include "cmd/raftkv-check/aside.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/raftkv-check/findings.h"
#include "lib/base/mem.h"
#include "lib/verify/verify.h"

/* ---- the child ---- */

static int look(const struct program_command *command, const char *scratch, aside_work *work)
{
    struct findings findings;
    struct err err = {0};
    findings_init(&findings);
    if (work(scratch, &findings.sink, &err) != 0)
        return command_usage(command, "%s", err.text);
    return findings_result(&findings);
}

static _Noreturn void child(const struct program_command *command, const char *scratch,
                            aside_work *work, const sigset_t *before)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, before, NULL);
    int status = look(command, scratch, work);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "raftkv-check: cannot write the output: %s\n", strerror(errno));
        status = status == EXIT_DONE ? EXIT_INTERNAL : status;
    }
    _exit(status);
}

/* ---- the parent ---- */

/* Waits for the child's end, or kills it when a signal ends us; that signal, else 0. */
static int await(pid_t pid, const sigset_t *waited, int *status)
{
    int ending = 0;
    for (;;) {
        int signal = sigwaitinfo(waited, NULL);
        if (signal > 0 && signal != SIGCHLD) {
            ending = signal;
            kill(pid, SIGKILL);
        }
        pid_t ended = waitpid(pid, status, ending ? 0 : WNOHANG);
        if (ended == pid || (ended < 0 && errno != EINTR))
            return ending;
    }
}

static int exit_status_of(const struct program_command *command, int status)
{
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "raftkv-check: %s: the process that looked died of signal %d\n", command->name,
            WTERMSIG(status));
    return EXIT_INTERNAL;
}

static char *scratch_make(const char *parent, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    if (!parent)
        parent = tmp && *tmp ? tmp : "/tmp";
    size_t room = strlen(parent) + 32;
    char *path = mem_alloc(room);
    snprintf(path, room, "%s/raftkv-check-XXXXXX", parent);
    if (mkdtemp(path))
        return path;
    err_errno(err, ERR_IO, errno, "cannot make a directory in %s", parent);
    mem_free(path);
    return NULL;
}

int aside_run(const struct program_command *command, const char *parent, aside_work *work)
{
    static const int signals[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP};
    sigset_t waited, before;
    struct err err = {0};
    int status = 0, ending = 0;
    sigemptyset(&waited);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&waited, signals[i]);
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would never come */
    sigprocmask(SIG_BLOCK, &waited, &before);
    char *scratch = scratch_make(parent, &err);
    if (!scratch) {
        command_failed(command, &err);
        return EXIT_INCONCLUSIVE;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(command, scratch, work, &before);
    if (pid > 0)
        ending = await(pid, &waited, &status);
    else
        err_errno(&err, ERR_IO, errno, "cannot make a process");
    if (verify_scratch_erase(scratch, pid > 0 ? &err : NULL) != 0 || pid < 0)
        command_failed(command, &err);
    mem_free(scratch);
    if (ending) {
        signal(ending, SIG_DFL);
        raise(ending);
    }
    sigprocmask(SIG_SETMASK, &before, NULL); /* and so the signal comes */
    return pid > 0 ? exit_status_of(command, status) : EXIT_INTERNAL;
}

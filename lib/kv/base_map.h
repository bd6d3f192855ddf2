/*
 * The rows underneath, in memory: what kv.db is to the node, for tests and the simulator. It takes
 * memtables as the flusher writes them, whole, and so is always exactly the state at one index.
 */
#ifndef RAFTKV_KV_BASE_MAP_H
#define RAFTKV_KV_BASE_MAP_H

#include "lib/kv/state.h"

struct base_map;

struct base_map *base_map_new(void);                         /* empty, at index 0 */
struct base_map *base_map_clone(const struct base_map *map); /* a snapshot */
/* Makes `to` equal to `from`; quick if little of it differs. Ends its cursors, invalidates its
 * rows. */
void base_map_copy(struct base_map *to, const struct base_map *from);
void base_map_free(struct base_map *map);

const struct state_base *base_map_base(struct base_map *map); /* lives as long as the map */
/* The memtable must go on where the map ends. Ends cursors and invalidates rows and images. */
void base_map_flush(struct base_map *map, const struct memtable *m);
/* Its sessions are the map's until the next flush. */
void base_map_image(struct base_map *map, struct state_image *image);
raft_index base_map_applied(const struct base_map *map);
size_t base_map_row_count(const struct base_map *map);

#endif

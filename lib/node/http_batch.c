/* POST /batch: several puts and deletes as one write. */
#include "lib/node/http_kv_internal.h"

void http_batch(struct node *n, struct http_request *r)
{
    struct client_request *c = client_request_new(n, r, NODE_BATCH);
    struct api_error refusal;
    struct err err = {0};
    int code;

    c->carry.write = true;
    code = client_request_parameters(c, &err);
    if (code == 0) {
        code = client_request_session(c, &err);
    }
    if (code != 0) {
        client_request_fail(c, &err);
    } else if (api_batch_decode(r->body, n->options.value_bytes_max, &c->writes, &c->write_count,
                                &refusal) != 0) {
        client_request_refuse(c, &refusal);
    } else {
        client_request_write(c);
    }
}

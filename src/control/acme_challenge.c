/* What the edges are to answer CAs with at this moment: the challenges of all orders under way, and
 * their self-checks. Nothing of it is stored: it follows from the orders. A generation is a number
 * for one such moment; an order goes on once every edge has the generation of its challenges. */
#include "control/acme_private.h"

static void on_announce(struct loop_deferred *deferred)
{
    struct acme *acme = container_of(deferred, struct acme, announce);
    acme->handler->on_challenges_changed(acme->handler);
}

uint64_t acme_challenges_changed(struct acme *acme)
{
    loop_defer(acme->loop, &acme->announce);
    return ++acme->generation;
}

static void challenge_add(struct acme *acme, const struct acme_challenge *challenge)
{
    if (acme->challenge_count == acme->challenge_capacity) {
        size_t capacity = MAX(acme->challenge_capacity * 2, (size_t)16);
        void *grown = reallocarray(acme->challenges, capacity, sizeof(*acme->challenges));
        if (!grown)
            abort();
        acme->challenges = grown;
        acme->challenge_capacity = capacity;
    }
    acme->challenges[acme->challenge_count++] = *challenge;
}

static void challenges_of_check(struct acme *acme, const struct acme_order *order)
{
    const struct acme_spec *spec = &order->item->spec;
    for (size_t i = 0; order->check_kind != ACME_AUTO && i < spec->name_count; i++)
        challenge_add(acme, &(struct acme_challenge){
                                .kind = order->check_kind,
                                .name = spec->names[i],
                                .token = order->self_token,
                                .key_authorization = order->self_value,
                                .certificate_pem = buf_slice(&order->self.certificate_pem),
                                .key_pem = buf_slice(&order->self.key_pem),
                            });
}

uint64_t acme_challenges(struct acme *acme, const struct acme_challenge **ret_challenges,
                         size_t *ret_count)
{
    acme->challenge_count = 0;
    list_each (node, &acme->orders) {
        const struct acme_order *order = container_of(node, struct acme_order, node);
        if (!order->is_cancelled)
            challenges_of_check(acme, order);
        for (size_t i = 0; i < order->authorization_count; i++) {
            const struct acme_authorization *authorization = &order->authorizations[i];
            if (!authorization->is_published)
                continue;
            challenge_add(acme, &(struct acme_challenge){
                                    .kind = authorization->kind,
                                    .name = authorization->name,
                                    .token = authorization->token,
                                    .key_authorization = authorization->key_authorization,
                                    .certificate_pem = buf_slice(&authorization->certificate_pem),
                                    .key_pem = buf_slice(&authorization->key_pem),
                                });
        }
    }
    *ret_challenges = acme->challenges;
    *ret_count = acme->challenge_count;
    return acme->generation;
}

void acme_published(struct acme *acme, uint64_t generation)
{
    acme->published = MAX(acme->published, generation);
    for (;;) { /* an order that goes on may end, and others with it */
        struct acme_order *found = NULL;
        list_each (node, &acme->orders) {
            struct acme_order *order = container_of(node, struct acme_order, node);
            if (order->is_publishing && order->generation <= acme->published)
                found = order;
        }
        if (!found)
            break;
        acme_order_published(found);
    }
}

void acme_challenges_init(struct acme *acme)
{
    acme->announce.on_deferred = on_announce;
}

void acme_challenges_done(struct acme *acme)
{
    loop_defer_cancel(&acme->announce);
    free(acme->challenges);
}

/* list.h - intrusive doubly linked list. A `struct list` is head or node; find the owner with
 * container_of. An initialised node that is in no list points at itself, so list_remove is
 * idempotent. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include "base/compiler.h"
#include <stdbool.h>

struct list {
    struct list *next, *previous;
};

static inline void list_init(struct list *list)
{
    list->next = list->previous = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_insert_before(struct list *where, struct list *node)
{
    node->previous = where->previous;
    node->next = where;
    where->previous->next = node;
    where->previous = node;
}

static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

static inline void list_remove(struct list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    list_init(node);
}

/* Everything in `from` goes to the end of `to`. */
static inline void list_move_all(struct list *from, struct list *to)
{
    if (list_is_empty(from))
        return;
    from->next->previous = to->previous;
    to->previous->next = from->next;
    from->previous->next = to;
    to->previous = from->previous;
    list_init(from);
}

/* `node` is a struct list *; the _safe form allows removing `node` in the body. */
#define list_each(node, head)                                                                      \
    for (struct list *node = (head)->next; node != (head); node = node->next)
#define list_each_safe(node, head)                                                                 \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head);              \
         node = node##_next, node##_next = node->next)

#endif

#include "base/list.h"
#include "unit.h"

struct item {
    struct list node;
    char name;
};

static const char *order(const struct list *head, char *buffer)
{
    size_t len = 0;
    list_each (node, head)
        buffer[len++] = container_of(node, struct item, node)->name;
    buffer[len] = '\0';
    return buffer;
}

static void nodes_stand_in_the_order_of_their_pushes(void **state)
{
    (void)state;
    struct list head;
    struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    char text[8];
    list_init(&head);
    assert_true(list_is_empty(&head));
    list_push_back(&head, &b.node);
    list_push_back(&head, &c.node);
    list_push_front(&head, &a.node);
    assert_string_equal(order(&head, text), "abc");
}

static void removing_twice_is_the_same_as_once(void **state)
{
    (void)state;
    struct list head;
    struct item a = {.name = 'a'}, b = {.name = 'b'};
    char text[8];
    list_init(&head);
    list_push_back(&head, &a.node);
    list_push_back(&head, &b.node);
    list_remove(&a.node);
    list_remove(&a.node);
    assert_string_equal(order(&head, text), "b");
}

static void the_safe_walk_survives_removal(void **state)
{
    (void)state;
    struct list head;
    struct item items[4] = {{.name = 'a'}, {.name = 'b'}, {.name = 'c'}, {.name = 'd'}};
    char text[8];
    list_init(&head);
    for (size_t i = 0; i < 4; i++)
        list_push_back(&head, &items[i].node);
    list_each_safe (node, &head)
        if (container_of(node, struct item, node)->name != 'c')
            list_remove(node);
    assert_string_equal(order(&head, text), "c");
}

static void moving_all_empties_the_source(void **state)
{
    (void)state;
    struct list from, to;
    struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'};
    char text[8];
    list_init(&from);
    list_init(&to);
    list_move_all(&from, &to);
    assert_true(list_is_empty(&to));
    list_push_back(&to, &a.node);
    list_push_back(&from, &b.node);
    list_push_back(&from, &c.node);
    list_move_all(&from, &to);
    assert_true(list_is_empty(&from));
    assert_string_equal(order(&to, text), "abc");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_stand_in_the_order_of_their_pushes),
        cmocka_unit_test(removing_twice_is_the_same_as_once),
        cmocka_unit_test(the_safe_walk_survives_removal),
        cmocka_unit_test(moving_all_empties_the_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

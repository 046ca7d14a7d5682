#include "admin/operations.h"

#include "base/error.h"
#include "base/json.h"
#include "os/file.h"
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void every_route_has_its_parameters_and_an_answer(void **state UNUSED)
{
    for (unsigned i = 0; i < OPERATION_ROUTES; i++) {
        const struct operation_route *route = &operation_routes[i];
        struct slice rest = slice_from(route->path);
        assert_non_null(operation_answers[i].content_type);
        assert_true(route->summary[0] != '\0');
        while (rest.len) {
            struct slice part = slice_cut(&rest, '/');
            bool is_found = part.len == 0 || part.ptr[0] != '{';
            for (size_t k = 0; k < operation_parameter_count; k++)
                is_found |= operation_parameters[k].route == (enum operation_route_id)i &&
                            operation_parameters[k].where == OPERATION_IN_path &&
                            slice_eq(slice_from(operation_parameters[k].name),
                                     slice_sub(part, 1, part.len - 2));
            assert_true(is_found);
        }
    }
}

static void every_example_answer_is_json(void **state UNUSED)
{
    struct arena *arena = arena_new(1024 * 1024);
    for (unsigned i = 0; i < OPERATION_ROUTES; i++) {
        struct json *json;
        assert_int_equal(json_parse(arena, slice_from(operation_answers[i].example), &json, NULL),
                         0);
    }
    arena_free(arena);
}

static void a_request_finds_its_route(void **state UNUSED)
{
    struct operation_match match;
    assert_int_equal(
        operation_match(SLICE("PUT"), SLICE("/v1/apps/shop/deploys/12/source"), &match),
        OPERATION_MATCHED);
    assert_int_equal(match.id, OPERATION_deploy_source);
    assert_true(slice_eq(operation_match_value(&match, "app"), SLICE("shop")));
    assert_true(slice_eq(operation_match_value(&match, "deploy"), SLICE("12")));
    assert_int_equal(operation_match_value(&match, "id").len, 0);
    assert_int_equal(operation_match(SLICE("GET"), SLICE("/v1/apps/shop"), &match),
                     OPERATION_NO_METHOD);
    assert_int_equal(operation_match(SLICE("DELETE"), SLICE("/v1/apps/shop"), &match),
                     OPERATION_MATCHED);
    assert_int_equal(operation_match(SLICE("get"), SLICE("/v1/status"), &match),
                     OPERATION_NO_METHOD);
}

static void what_is_not_a_route_is_not_matched(void **state UNUSED)
{
    static const char *const paths[] = {"",
                                        "/",
                                        "/v1",
                                        "/v1/status/",
                                        "v1/status",
                                        "//v1/status",
                                        "/v1/apps//releases",
                                        "/v1/apps/",
                                        "/v1/apps/a/b/c/d/e/f",
                                        "*"};
    struct operation_match match;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        assert_int_equal(operation_match(SLICE("GET"), slice_from(paths[i]), &match),
                         OPERATION_NO_PATH);
}

static void the_openapi_description_has_every_route(void **state UNUSED)
{
    struct arena *arena = arena_new(4 * 1024 * 1024);
    struct buf text = BUF_INIT(1024 * 1024);
    struct json *json;
    struct error err = {0};
    operations_openapi(&text);
    assert_int_equal(json_parse(arena, buf_slice(&text), &json, &err), 0);
    assert_string_equal(json_get_text(json, "openapi", ""), "3.1.0");
    size_t operations = 0;
    json_each (path, json_get(json, "paths")) {
        json_each (method, path) {
            operations++;
            assert_non_null(json_path(method, "responses.200.content"));
            assert_non_null(json_get_text(method, "operationId", NULL));
        }
    }
    assert_int_equal(operations, OPERATION_ROUTES);
    assert_non_null(json_path(json, "components.responses.error"));
    buf_done(&text);
    arena_free(arena);
}

static void options_belong_to_verbs_and_do_not_collide(void **state UNUSED)
{
    for (size_t i = 0; i < operation_option_count; i++) {
        const struct operation_option *a = &operation_options[i];
        assert_true(strcmp(a->verb, "*") == 0 || operation_verb_find(a->verb) != NULL);
        assert_true(strlen(a->short_name) <= 1);
        assert_true(a->description[0] != '\0');
        for (size_t k = 0; k < i; k++) {
            const struct operation_option *b = &operation_options[k];
            bool meet = strcmp(a->verb, b->verb) == 0 || strcmp(a->verb, "*") == 0 ||
                        strcmp(b->verb, "*") == 0;
            assert_false(meet && strcmp(a->long_name, b->long_name) == 0);
            assert_false(meet && a->short_name[0] && a->short_name[0] == b->short_name[0]);
        }
    }
}

static void every_listing_offers_json(void **state UNUSED)
{
    static const char *const listings[] = {"validate", "plan", "releases", "status",
                                           "ps",       "logs", "trash",    "version"};
    for (size_t i = 0; i < ARRAY_LEN(listings); i++)
        assert_non_null(operation_option_find(listings[i], SLICE("json"), 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_has_its_parameters_and_an_answer),
        cmocka_unit_test(every_example_answer_is_json),
        cmocka_unit_test(a_request_finds_its_route),
        cmocka_unit_test(what_is_not_a_route_is_not_matched),
        cmocka_unit_test(the_openapi_description_has_every_route),
        cmocka_unit_test(options_belong_to_verbs_and_do_not_collide),
        cmocka_unit_test(every_listing_offers_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "unit.h"

#include "base/error.h"
#include "signer/request.h"

struct message {
    struct peer_sign header;
    uint8_t bytes[PEER_SIGN_BYTES_MAX + 1];
};

static struct message message_of(uint32_t kind, uint32_t len)
{
    return (struct message){
        .header = {.type = PEER_SIGN, .kind = kind, .request = 7, .len = len},
        .bytes = {1, 2, 3},
    };
}

static void a_request_is_read_as_it_was_sent(void **state)
{
    struct message message = message_of(PEER_SIGN_RSA_PKCS1, 3);
    struct request request;

    (void)state;
    message.header.key_id[31] = 9;
    assert_int_equal(request_read(&message, sizeof(message.header) + 3, &request), 0);
    assert_int_equal(request.request, 7);
    assert_int_equal(request.kind, PEER_SIGN_RSA_PKCS1);
    assert_int_equal(request.key_id[31], 9);
    assert_slice_equal(request.bytes, "\1\2\3");
}

static void a_request_of_another_size_than_it_says_is_refused(void **state)
{
    struct message message = message_of(PEER_SIGN_ECDSA, 3);
    struct request request;

    (void)state;
    for (size_t len = 0; len < sizeof(message); len++)
        if (len != sizeof(message.header) + 3)
            assert_int_equal(request_read(&message, len, &request), ERR_INVALID);
}

static void a_request_with_an_unknown_kind_or_too_many_bytes_is_refused(void **state)
{
    struct message message = message_of(PEER_SIGN_ED25519 + 1, 3);
    struct request request;

    (void)state;
    assert_int_equal(request_read(&message, sizeof(message.header) + 3, &request), ERR_INVALID);
    message = message_of(PEER_SIGN_ECDSA, PEER_SIGN_BYTES_MAX + 1);
    assert_int_equal(request_read(&message, sizeof(message), &request), ERR_INVALID);
    message = message_of(PEER_SIGN_ECDSA, 0);
    assert_int_equal(request_read(&message, sizeof(message.header), &request), ERR_INVALID);
    message = message_of(PEER_SIGN_ECDSA, 3);
    message.header.type = PEER_KEYS;
    assert_int_equal(request_read(&message, sizeof(message.header) + 3, &request), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_as_it_was_sent),
        cmocka_unit_test(a_request_of_another_size_than_it_says_is_refused),
        cmocka_unit_test(a_request_with_an_unknown_kind_or_too_many_bytes_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

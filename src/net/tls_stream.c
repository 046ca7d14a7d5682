/* tls_stream.c - how OpenSSL reads from and writes to the socket.
 *
 * Why not its socket BIO: that one writes each record (and each flight of a handshake) by itself
 * and hands every full socket up through the state machine, which then wants the same call again.
 * Here a write never fails for want of room: ciphertext gathers in one scratch area of the process
 * and goes out in one write(2) when the call into OpenSSL is over; only what the socket does not
 * take is copied and kept with the connection. Reading takes several records with one read(2) and
 * hands them on one by one; it notes whether the socket was emptied, so that nobody asks again to
 * hear EAGAIN.
 *
 * Nothing is left in the process's area of read bytes when tls_read returns, or it would have to be
 * copied for the connection: what OpenSSL keeps in its buffer and what is read fit into the room of
 * the caller once decrypted, for that only makes it less, so OpenSSL takes all of it.
 */
#include "net/tls_private.h"
#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

#define SCRATCH_BYTES (TLS_BATCH_RECORDS * (TLS_RECORD_BYTES + 256u) + 4096u)
#define AHEAD_BYTES   65536u
#define KEPT_MAX      18432u /* in OpenSSL's read buffer: a record with all that may be around it */

static char scratch[SCRATCH_BYTES];
static size_t scratch_len;

static struct {
    char bytes[AHEAD_BYTES];
    size_t start, len;
    size_t room;  /* what may be read at once; 0: only into OpenSSL's buffer */
    bool is_over; /* nothing more is read */
} ahead;

static bool left_append(struct tls *tls, const char *bytes, size_t len)
{
    struct tls_left *left = &tls->left;

    if (left->start == left->len)
        left->start = left->len = 0;
    if (len > TLS_LEFT_MAX - left->len)
        return false;
    if (left->len + len > left->capacity) {
        uint32_t capacity = MAX(left->len + (uint32_t)len, MIN(left->capacity * 2, TLS_LEFT_MAX));
        char *grown = realloc(left->bytes, capacity);

        if (!grown)
            return false;
        left->bytes = grown;
        left->capacity = capacity;
    }
    memcpy(left->bytes + left->len, bytes, len);
    left->len += (uint32_t)len;
    return true;
}

static bool has_left(const struct tls *tls)
{
    return tls->left.start < tls->left.len;
}

static int on_write(BIO *bio, const char *bytes, size_t len, size_t *ret_written)
{
    struct tls *tls = tls_current;

    BIO_clear_retry_flags(bio);
    if (!has_left(tls) && len <= SCRATCH_BYTES - scratch_len) {
        memcpy(scratch + scratch_len, bytes, len);
        scratch_len += len;
    } else {
        if (scratch_len && !left_append(tls, scratch, scratch_len))
            return 0;
        scratch_len = 0;
        if (!left_append(tls, bytes, len))
            return 0;
    }
    tls->queued += len;
    *ret_written = len;
    return 1;
}

void tls_stream_read_begin(size_t room)
{
    assert(ahead.start == ahead.len);
    ahead.room = room >= 2 * KEPT_MAX ? MIN(room - KEPT_MAX, AHEAD_BYTES) : 0;
    ahead.is_over = false;
}

bool tls_stream_read_on(void)
{
    ahead.is_over = true;
    return ahead.start < ahead.len;
}

void tls_stream_read_done(void)
{
    ahead.start = ahead.len = ahead.room = 0;
    ahead.is_over = false;
}

static ssize_t receive(int fd, char *bytes, size_t len)
{
    ssize_t got;

    do
        got = recv(fd, bytes, len, 0);
    while (got < 0 && errno == EINTR);
    return got;
}

static size_t take_ahead(char *bytes, size_t len)
{
    size_t taken = MIN(len, ahead.len - ahead.start);

    memcpy(bytes, ahead.bytes + ahead.start, taken);
    ahead.start += taken;
    return taken;
}

static int on_read(BIO *bio, char *bytes, size_t len, size_t *ret_read)
{
    struct tls *tls = tls_current;
    bool is_ahead = ahead.room > len;
    ssize_t got;

    BIO_clear_retry_flags(bio);
    if (ahead.start < ahead.len) {
        *ret_read = take_ahead(bytes, len);
        return 1;
    }
    if (tls->is_drained || ahead.is_over) { /* and nobody said that there is more */
        BIO_set_retry_read(bio);
        return 0;
    }
    got = is_ahead ? receive(tls->fd, ahead.bytes, ahead.room) : receive(tls->fd, bytes, len);
    if (got > 0) {
        tls->is_drained = (size_t)got < (is_ahead ? ahead.room : len);
        *ret_read = (size_t)got;
        if (is_ahead) {
            ahead.start = 0;
            ahead.len = (size_t)got;
            *ret_read = take_ahead(bytes, len);
        }
        return 1;
    }
    if (got == 0) {
        tls->is_eof = true;
    } else if (errno == EAGAIN) {
        tls->is_drained = true;
        BIO_set_retry_read(bio);
    }
    return 0;
}

static long on_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF)
        return tls_current && tls_current->is_eof;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static int on_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO *tls_stream_new(void)
{
    static BIO_METHOD *method;

    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
        if (!method || !BIO_meth_set_write_ex(method, on_write) ||
            !BIO_meth_set_read_ex(method, on_read) || !BIO_meth_set_ctrl(method, on_control) ||
            !BIO_meth_set_create(method, on_create))
            return NULL;
    }
    return BIO_new(method);
}

static bool send_some(struct tls *tls, const char *bytes, size_t len, size_t *ret_sent)
{
    ssize_t put;

    do
        put = send(tls->fd, bytes, len, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    *ret_sent = put > 0 ? (size_t)put : 0;
    if (put < 0 && errno != EAGAIN) {
        tls->state = TLS_STATE_FAILED;
        if (!tls->failure)
            tls->failure = "the connection is reset";
        return false;
    }
    tls->sent += *ret_sent;
    return true;
}

static void left_free(struct tls *tls)
{
    free(tls->left.bytes);
    tls->left = (struct tls_left){0};
}

bool tls_stream_flush(struct tls *tls)
{
    size_t sent = 0;

    if (has_left(tls)) {
        assert(scratch_len == 0);
        if (!send_some(tls, tls->left.bytes + tls->left.start, tls->left.len - tls->left.start,
                       &sent))
            return false;
        tls->left.start += (uint32_t)sent;
        if (has_left(tls))
            return false;
        left_free(tls);
        return true;
    }
    if (scratch_len == 0)
        return true;
    if (send_some(tls, scratch, scratch_len, &sent) && sent < scratch_len &&
        !left_append(tls, scratch + sent, scratch_len - sent))
        tls->state = TLS_STATE_FAILED;
    sent = scratch_len - sent;
    scratch_len = 0;
    return sent == 0;
}

void tls_stream_keep(struct tls *tls)
{
    if (scratch_len && !left_append(tls, scratch, scratch_len))
        tls->state = TLS_STATE_FAILED;
    scratch_len = 0;
}

void tls_stream_done(struct tls *tls)
{
    scratch_len = 0;
    left_free(tls);
}

#include "os/random.h"

#include <errno.h>
#include <sys/random.h>

void random_bytes(void *buffer, size_t len)
{
    unsigned char *at = buffer;
    while (len) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort();
        at += n;
        len -= (size_t)n;
    }
}

uint64_t random_u64(void)
{
    uint64_t value;
    random_bytes(&value, sizeof(value));
    return value;
}

char *random_token(char *buffer, size_t len)
{
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const unsigned base = sizeof(alphabet) - 1;
    size_t filled = 0;
    while (filled < len) {
        unsigned char bytes[64];
        random_bytes(bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes) && filled < len; i++)
            if (bytes[i] < 256 / base * base) /* the rest would favour the first letters */
                buffer[filled++] = alphabet[bytes[i] % base];
    }
    buffer[len] = '\0';
    return buffer;
}

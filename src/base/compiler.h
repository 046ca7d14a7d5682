/* compiler.h - the few compiler extensions that the code relies on.
 *
 * CLEANUP(f) runs f(&variable) when the variable leaves its scope; TAKE_PTR/TAKE_FD move ownership
 * out of such a variable. container_of finds the owner of an embedded handle.
 */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CLEANUP(function)   __attribute__((cleanup(function)))
#define MUST_USE            __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a)   __attribute__((format(printf, f, a)))
#define NORETURN            __attribute__((noreturn))
#define UNUSED              __attribute__((unused))
#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#define TAKE_PTR(pointer)                                                                          \
    ({                                                                                             \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })

#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

#define container_of(pointer, type, member)                                                        \
    ({                                                                                             \
        const __typeof__(((type *)0)->member) *member_ = (pointer);                                \
        (type *)((uintptr_t)member_ - offsetof(type, member));                                     \
    })

#define MIN(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) min_a_ = (a);                                                                \
        __typeof__(b) min_b_ = (b);                                                                \
        min_a_ < min_b_ ? min_a_ : min_b_;                                                         \
    })

#define MAX(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) max_a_ = (a);                                                                \
        __typeof__(b) max_b_ = (b);                                                                \
        max_a_ > max_b_ ? max_a_ : max_b_;                                                         \
    })

#endif

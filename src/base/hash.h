/* hash.h - hashes by purpose. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/slice.h"

uint64_t hash_fast(const void *bytes, size_t len,
                   uint64_t seed); /* not for hostile input; stable across runs */
uint64_t hash_keyed(const void *bytes, size_t len, const uint8_t key[16]); /* SipHash-2-4 */
uint32_t hash_crc32c(uint32_t crc, const void *bytes,
                     size_t len); /* RFC 3720 polynomial; start with 0 */
void hash_sha256(const void *bytes, size_t len,
                 uint8_t ret_digest[32]); /* FIPS 180-4; digests of small things */

#endif

#include "main/roles.h"

#include "control/control.h"
#include "edge/edge.h"
#include "logd/logd.h"
#include "signer/signer.h"

/* In the order in which they are started: whoever is needed comes before whoever needs. */
const struct keeper_role_entry roles_table[] = {
    {KEEPER_ROLE_LOGD, "logd", "slipway-log", false, logd_main},
    {KEEPER_ROLE_SIGNER, "signer", "slipway-keys", false, signer_main},
    {KEEPER_ROLE_CONTROL, "control", "slipway", false, control_main},
    {KEEPER_ROLE_EDGE, "edge", "slipway-edge", true, edge_main},
};
const size_t roles_count = ARRAY_LEN(roles_table);

const struct keeper_role_entry *roles_find(const char *title)
{
    size_t prefix_len = strlen(KEEPER_TITLE_PREFIX);

    if (strncmp(title, KEEPER_TITLE_PREFIX, prefix_len) != 0)
        return NULL;
    for (size_t i = 0; i < roles_count; i++) {
        size_t len = strlen(roles_table[i].name);
        const char *rest = title + prefix_len;

        if (strncmp(rest, roles_table[i].name, len) == 0 && (rest[len] == '\0' || rest[len] == ' '))
            return &roles_table[i];
    }
    return NULL;
}

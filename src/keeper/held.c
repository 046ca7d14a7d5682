/* Descriptors that control wants back after its own end, by name. */
#include "keeper/keeper_private.h"

#include "os/file.h"

/* Control gets all of them. */
static bool is_for(const struct role *role, const char *name)
{
    switch (role->entry->role) {
    case KEEPER_ROLE_CONTROL:
        return true;
    case KEEPER_ROLE_EDGE:
        return strcmp(name, "snapshot") == 0;
    case KEEPER_ROLE_SIGNER:
        return strcmp(name, "keys") == 0;
    default:
        return false;
    }
}

static struct held *held_find(struct keeper *keeper, const char *name)
{
    for (size_t i = 0; i < KEEPER_HELD_MAX; i++) {
        if (keeper->held[i].name && strcmp(keeper->held[i].name, name) == 0)
            return &keeper->held[i];
    }
    return NULL;
}

static struct held *held_free(struct keeper *keeper)
{
    for (size_t i = 0; i < KEEPER_HELD_MAX; i++) {
        if (!keeper->held[i].name)
            return &keeper->held[i];
    }
    return NULL;
}

static void held_clear(struct held *held)
{
    if (!held->name)
        return;
    fd_close(held->fd);
    free(held->name);
    *held = (struct held){.fd = -1};
}

int held_put(struct keeper *keeper, const char *name, int *fd, struct error *err)
{
    struct held *held = held_find(keeper, name);

    if (held) {
        fd_close(held->fd);
        held->fd = TAKE_FD(*fd);
        return 0;
    }
    held = held_free(keeper);
    if (!held)
        return error_set(err, ERR_LIMIT, "%u descriptors are held already", KEEPER_HELD_MAX);
    held->name = strdup(name);
    if (!held->name)
        return error_set(err, ERR_LIMIT, "no memory to hold '%s'", name);
    held->fd = TAKE_FD(*fd);
    return 0;
}

int held_drop(struct keeper *keeper, const char *name, struct error *err)
{
    struct held *held = held_find(keeper, name);

    if (!held)
        return error_set(err, ERR_NOT_FOUND, "no descriptor '%s' is held", name);
    held_clear(held);
    return 0;
}

void held_describe(const struct keeper *keeper, struct role *to)
{
    for (size_t i = 0; i < KEEPER_HELD_MAX; i++) {
        const struct held *held = &keeper->held[i];
        struct keeper_held message = {.header = {.type = KEEPER_HELD}};
        const char *strings[] = {held->name};

        if (held->name && is_for(to, held->name))
            role_post(to, &message, sizeof message, strings, 1, held->fd);
    }
}

void held_done(struct keeper *keeper)
{
    for (size_t i = 0; i < KEEPER_HELD_MAX; i++)
        held_clear(&keeper->held[i]);
}

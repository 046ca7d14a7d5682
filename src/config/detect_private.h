/* detect_private.h - what the detectors say of a folder: services, before they are written as YAML.
 */
#ifndef CONFIG_DETECT_PRIVATE_H
#define CONFIG_DETECT_PRIVATE_H

#include "config/manifest.h"

#define DETECTED_MAX 16u

struct detected_service {
    const char *name;
    const char *from; /* the file that told: "package.json" */
    enum service_type type;
    const char *root; /* "." */
    const char *build, *pre_deploy, *start, *publish;
    const char *health_path;
    bool is_single_page, uses_postgres, uses_redis;
};

struct detection {
    struct arena *arena;
    const char *directory;
    struct detected_service services[DETECTED_MAX];
    size_t count;
};

/* A new service of the folder `root`, or NULL when there is no room. A name that is taken gets a
 * number. */
struct detected_service *detection_add(struct detection *detection, const char *name,
                                       const char *root, const char *from);
/* "" when the file is absent or too large to be of interest. */
const char *detection_read(struct detection *detection, const char *root, const char *name);
bool detection_has(struct detection *detection, const char *root, const char *name);

/* Each looks at one folder and returns whether it recognised something. */
bool detect_node(struct detection *detection, const char *root, const char *name);
bool detect_python(struct detection *detection, const char *root, const char *name);
bool detect_go(struct detection *detection, const char *root, const char *name);
bool detect_html(struct detection *detection, const char *root, const char *name);
/* The Procfile's commands in place of what the others found; `first` is the index of the first
 * service of the folder. */
bool detect_procfile(struct detection *detection, const char *root, size_t first);

#endif

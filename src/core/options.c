/* Options structs of other headers than this build's. */
#include "core/core.h"

#include <string.h>

const void *tn_known_args(void *known, size_t size, const void *args)
{
    enum { MOST = 4096 };
    size_t theirs = 0;
    memset(known, 0, size);
    if (args)
        memcpy(&theirs, args, sizeof theirs);
    if (!args || theirs < sizeof theirs || theirs > MOST) {
        tn_fail(TN_ERR_ARGUMENT, args ? "options: .size is %zu: set it to the size of the struct" : "options: the struct is NULL", theirs);
        return known;
    }
    memcpy(known, args, theirs < size ? theirs : size);
    for (size_t i = size; i < theirs; i++)
        if (((const char *)args)[i]) {
            tn_fail(TN_ERR_UNSUPPORTED, "options: the struct has %zu bytes, this library (%s) knows %zu, and an option beyond them is set",
                    theirs, tn_version(), size);
            break;
        }
    return known;
}

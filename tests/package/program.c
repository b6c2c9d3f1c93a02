#include <tenon/base.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    char header[32];
    snprintf(header, sizeof header, "%d.%d.%d", TN_VERSION_MAJOR, TN_VERSION_MINOR, TN_VERSION_PATCH);
    printf("Tenon %s\n", tn_version());
    return strcmp(header, tn_version()) != 0;
}

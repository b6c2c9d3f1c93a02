/* One OpenMP runtime in the process, whatever libraries bring: two would keep two pools of threads, which fight for the cores. */
#include "check.h"

#include <stdio.h>

enum { MOST = 8 };

/* gcc's, LLVM's (not libomptarget, which runs on it) and Intel's. */
static bool is_runtime(const char *name)
{
    return !strncmp(name, "libgomp", 7) || !strncmp(name, "libomp.", 7) || !strncmp(name, "libomp-", 7) || !strncmp(name, "libiomp", 7);
}

/* Fills paths with the different OpenMP runtimes among the process's mappings; -1 where the system does not say. */
static int runtimes(char paths[MOST][256])
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[4096];
    int count = 0;
    if (!maps)
        return -1;
    while (fgets(line, sizeof line, maps)) {
        line[strcspn(line, "\n")] = 0;
        const char *path = strchr(line, '/'), *name = path ? strrchr(path, '/') + 1 : "";
        bool seen = !is_runtime(name);
        for (int i = 0; i < count && !seen; i++)
            seen = strcmp(paths[i], path) == 0;
        if (!seen && count < MOST)
            snprintf(paths[count++], 256, "%s", path);
    }
    fclose(maps);
    return count;
}

static void test_one_openmp(void **state)
{
    (void)state;
    TN_SCOPE;
    /* products, of bf16 too, which oneDNN takes where the processor has them; and convolutions */
    tn_tensor *x = tn_rand(TN_SHAPE(64, 64)), *half = tn_cast(x, TN_BF16);
    assert_non_null(tn_matmul(x, x));
    assert_non_null(tn_matmul(half, half));
    tn_tensor *picture = tn_rand(TN_SHAPE(2, 3, 16, 16)), *weight = tn_rand(TN_SHAPE(4, 3, 3, 3), .requires_grad = true);
    assert_int_equal(tn_backward(tn_sum(tn_conv2d(picture, weight))), TN_OK);
    char paths[MOST][256];
    const int count = runtimes(paths);
    if (count < 0) {
        print_message("skipped: no /proc/self/maps here\n");
        skip();
    }
    for (int i = 0; i < count; i++)
        print_message("%s\n", paths[i]);
#if defined(TENON_HAVE_OPENMP)
    assert_int_equal(count, 1);
#elif defined(TENON_HAVE_DNNL)
    assert_true(count <= 1); /* its own */
#else
    assert_int_equal(count, 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_one_openmp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

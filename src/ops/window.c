#include "ops/window.h"

/* floor((n + 2 pad - reach) / stride) + 1 windows of `reach` elements; ceil_mode rounds up, so that the last one may end outside, unless it
 * would begin in the padding. */
static int64_t count_of(int64_t n, int64_t reach, int64_t stride, int64_t pad, bool ceil_mode)
{
    int64_t room = n + 2 * pad - reach + (ceil_mode ? stride - 1 : 0);
    if (room < 0)
        return 0;
    int64_t count = room / stride + 1;
    return count - (ceil_mode && (count - 1) * stride >= n + pad);
}

static bool in_range(const char *op, const char *option, tn_pair value, int64_t least)
{
    const int64_t most = INT32_MAX;
    if (value.h >= least && value.w >= least && value.h <= most && value.w <= most)
        return true;
    tn_fail(TN_ERR_ARGUMENT, "%s: %s is %lld x %lld: each must be %lld to %lld", op, option, (long long)value.h, (long long)value.w,
            (long long)least, (long long)most);
    return false;
}

bool tn_window_range(const char *op, const tn_window *w)
{
    return in_range(op, "kernel", w->kernel, 1) && in_range(op, "stride", w->stride, 1) && in_range(op, "padding", w->padding, 0) &&
           in_range(op, "dilation", w->dilation, 1);
}

bool tn_window_count(const char *op, const tn_window *window, bool half, const tn_tensor *x, int64_t h, int64_t w, tn_pair *count)
{
    tn_pair k = window->kernel, s = window->stride, p = window->padding, d = window->dilation;
    if (!tn_window_range(op, window))
        return false;
    tn_pair reach = {(k.h - 1) * d.h + 1, (k.w - 1) * d.w + 1};
    if (half && (p.h > reach.h / 2 || p.w > reach.w / 2)) {
        tn_fail(TN_ERR_ARGUMENT, "%s: padding is %lld x %lld: it may be at most half of the window, which is %lld x %lld", op,
                (long long)p.h, (long long)p.w, (long long)reach.h, (long long)reach.w);
        return false;
    }
    *count = (tn_pair){count_of(h, reach.h, s.h, p.h, window->ceil_mode), count_of(w, reach.w, s.w, p.w, window->ceil_mode)};
    if (h < 1 || w < 1 || count->h < 1 || count->w < 1) {
        tn_fail(TN_ERR_SHAPE, "%s: x is %s, %lld x %lld with its padding: a window (kernel %lld x %lld, dilation %lld x %lld) needs at "
                "least %lld x %lld: pad more or take a smaller kernel", op, tn_text(x), (long long)(h + 2 * p.h), (long long)(w + 2 * p.w),
                (long long)k.h, (long long)k.w, (long long)d.h, (long long)d.w, (long long)reach.h, (long long)reach.w);
        return false;
    }
    return true;
}

bool tn_images(const char *op, tn_tensor **x, int dims)
{
    tn_tensor *in = *x;
    if (!tn_ready(op, "x", in))
        return false;
    const int64_t *s = in->sizes;
    int batched = in->ndim == dims + 2;
    if (!batched && in->ndim != dims + 1) {
        tn_fail(TN_ERR_SHAPE, "%s: x is %s: it must be %s", op, tn_text(in),
                dims == 2 ? "[n, c, h, w], or [c, h, w] without a batch" : "[n, c, l], or [c, l] without a batch");
        return false;
    }
    if (!batched || dims == 1)
        *x = tn_reshape(in, TN_SHAPE(batched ? s[0] : 1, s[batched], dims == 2 ? s[batched + 1] : 1, s[batched + dims]));
    return *x != NULL;
}

tn_tensor *tn_images_back(tn_tensor *y, const tn_tensor *like, int dims)
{
    if (!y || (dims == 2 && like->ndim == 4))
        return y;
    const int64_t *s = y->sizes;
    if (dims == 2)
        return tn_reshape(y, TN_SHAPE(s[1], s[2], s[3]));
    return like->ndim == 3 ? tn_reshape(y, TN_SHAPE(s[0], s[1], s[3])) : tn_reshape(y, TN_SHAPE(s[1], s[3]));
}

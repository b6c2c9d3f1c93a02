/* Tenon: pictures of curves and surfaces, drawn by gnuplot, with their numbers in a CSV beside them.
 *
 *     tn_plot *plot = tn_plot_new("curve.png", .title = "Reading digits", .xlabel = "epoch", .ylabel = "accuracy, %");
 *     tn_check(tn_plot_point(plot, "test accuracy", epoch, 97.5));         a point more in each turn
 *     tn_check(tn_plot_save(plot));                                        curve.png and curve.csv
 *     tn_release(plot); */
#ifndef TENON_PLOT_H
#define TENON_PLOT_H

#include <tenon/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_plot tn_plot;
#define TN_PLOT_OPTIONS(X)                                                                                                    \
    X(const char *, title, NULL)                                                                                              \
    X(const char *, xlabel, "x")                                                                                              \
    X(const char *, ylabel, NULL)                                                                                             \
    X(const char *, y2label, NULL) /* of the right axis, which series with .right are measured by */                          \
    X(const char *, zlabel, NULL)  /* of a surface's height */
typedef struct tn_plot_args { /* tn_plot_new("curve.png", .title = "Loss") */
    size_t size TN_SIZE_(tn_plot_args);
    TN_PLOT_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    const char *path TN_ZERO_;
} tn_plot_args;
/* A picture to be: path ends in .png or .svg (else TN_ERR_ARGUMENT), in a folder that is there
 * (else TN_ERR_IO); nothing is written before tn_plot_save(). Texts are copied and shown as they are. */
TN_API tn_plot *tn_plot_new_with(const tn_plot_args *args);

typedef enum tn_plot_style { TN_PLOT_LINE, TN_PLOT_DASHED, TN_PLOT_POINTS, TN_PLOT_LINE_POINTS } tn_plot_style;
#define TN_PLOT_SERIES_OPTIONS(X)                                                                                             \
    X(tn_plot_style, style, TN_PLOT_LINE)                                                                                     \
    X(bool, right, false) /* measured by the right axis */                                                                    \
    X(const char *, colour_of, NULL) /* drawn in the colour of that series, which is there already (else TN_ERR_ARGUMENT) */
typedef struct tn_plot_series_args { /* tn_plot_series(plot, "loss", .style = TN_PLOT_DASHED, .right = true) */
    size_t size TN_SIZE_(tn_plot_series_args);
    TN_PLOT_SERIES_OPTIONS(TN_FIELD_)
    char tn_ TN_ZERO_;
    tn_plot *plot TN_ZERO_;
    const char *name TN_ZERO_;
} tn_plot_series_args;
/* How the series of that name looks. Series stand in the legend and in the CSV in the order in which they are first named. */
TN_API tn_status tn_plot_series_with(const tn_plot_series_args *args);
/* One more point of a series, which the first makes. A NaN leaves a gap. */
TN_API tn_status tn_plot_point(tn_plot *plot, const char *series, double x, double y);
/* One more point of a path on a surface. */
TN_API tn_status tn_plot_point3(tn_plot *plot, const char *series, double x, double y, double z);
/* The surface that paths lie on: z [rows, columns] is the height at x0 ... x1 along the columns and y0 ... y1 along the rows; copied. At least
 * 2 by 2 (TN_ERR_SHAPE); it is part of the picture, not of the CSV. */
TN_API tn_status tn_plot_surface(tn_plot *plot, const tn_tensor *z, double x0, double x1, double y0, double y1);

/* Writes the CSV (the path with .csv as its end), then the picture. A row of the CSV is an x and what each series has there; of a path, y and
 * z. Each point stands in one row, in its series' order. Without gnuplot on the PATH the CSV is written all the same, and TN_ERR_UNSUPPORTED
 * says so; TN_ERR_IO names what could not be written. May be called again after more points. Works while an error sticks. */
TN_API tn_status tn_plot_save(tn_plot *plot) TN_MUST_CHECK;
/* Where the numbers are written, "curve.csv"; the plot's. NULL for NULL. */
TN_API const char *tn_plot_csv(const tn_plot *plot);

#ifdef __cplusplus
}
#endif

#endif

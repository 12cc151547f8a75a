/* What the region tree does pixel by pixel and merge by merge; `module.c` is its face to Python.

   Functions that return int return 0 where memory is short, else 1. */

#ifndef DGL_RSIS_REGIONS_NATIVE_H
#define DGL_RSIS_REGIONS_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define CHANNELS 4
#define NONE (-1)

typedef struct {
    int32_t ends[2]; /* nodes, at first the smaller before the larger */
    int32_t sideways; /* the leaves also touch from left to right */
    double length, strength;
} Border;

/* A growing array of borders, found again by their ends through open addressing. */
typedef struct {
    Border *borders;
    int32_t *slots;
    size_t count, room, mask;
} Borders;

typedef struct {
    double cost;
    int32_t a, b;
} Pair;

typedef struct {
    Pair *pairs;
    size_t count, room;
} Pairs;

/* A tree while it grows. Of `most` nodes the first `leaves` are leaves; each merge adds one. The
   borders of a node are a list of ends: end 2i + s is the end s of border i. */
typedef struct {
    int32_t leaves, most, count;
    double *area, *cost;
    double (*colour)[CHANNELS];
    double (*seam)[2]; /* of the border that a merge removed: length and strength */
    int32_t *parent, *children; /* two children a node, the smaller number first */
    int32_t *head, *tail, *next; /* lists of ends */
    int32_t *met, *by; /* by which node another was met last, and by which border */
    int32_t *first, *last; /* ranks of the leaves below */
    int32_t (*box)[4];
    float (*outline)[2];
    Borders all;
    Pairs heap;
} Tree;

/* Two leaves that touch, the smaller rank first, and the mean strength of their border. */
typedef struct {
    size_t count;
    int32_t (*leaves)[2];
    float *contrast;
} Touching;

/* Spread the numbers of seeds over what is wanted, from low to high.

   relief: (rows, columns), no NaN. basins: the same, numbers of seeds, 0 elsewhere; written to. */
int flood_basins(const float *relief, int32_t *basins, const uint8_t *wanted, size_t rows,
                 size_t columns);

/* Sum the borders between pixels that lie side by side, or one below the other; first the former.
   Both are summed apart and then added. Leaf `apart` gets none. */
int add_borders(Borders *all, const int32_t *labels, const float *gradient, size_t rows,
                size_t columns, int sideways, int32_t apart);

/* For qsort: by the smaller end, then those found sideways, then by the larger end. */
int by_ends(const void *first, const void *second);

/* Merge the leaves of a tree, whose borders are there, until none touch. */
int merge_all(Tree *tree, double weight);

/* Grow a tree over an image. What is in it is to be freed in any case.

   labels: (rows, columns), 0 to tree->leaves - 1, each at least once. channels: the same and
   CHANNELS. gradient: as labels. */
int grow(Tree *tree, Touching *touching, const int32_t *labels, const float *channels,
         const float *gradient, size_t rows, size_t columns, int32_t apart, double weight);
void free_tree(Tree *tree, Touching *touching);

#endif

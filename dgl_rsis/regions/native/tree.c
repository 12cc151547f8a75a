/* A tree over an image, from its leaves to what is asked of its nodes. */

#include "native.h"

#include <stdlib.h>
#include <string.h>

static void *array(size_t count, size_t size)
{
    return calloc(count ? count : 1, size);
}

static int make_room(Tree *tree)
{
    size_t most = (size_t)(tree->most = 2 * tree->leaves);
    tree->count = tree->leaves;
    int enough = (tree->area = array(most, sizeof *tree->area))
                 && (tree->cost = array(most, sizeof *tree->cost))
                 && (tree->colour = array(most, sizeof *tree->colour))
                 && (tree->seam = array(most, sizeof *tree->seam))
                 && (tree->parent = array(most, sizeof *tree->parent))
                 && (tree->children = array(2 * most, sizeof *tree->children))
                 && (tree->head = array(most, sizeof *tree->head))
                 && (tree->tail = array(most, sizeof *tree->tail))
                 && (tree->met = array(most, sizeof *tree->met))
                 && (tree->by = array(most, sizeof *tree->by))
                 && (tree->first = array(most, sizeof *tree->first))
                 && (tree->last = array(most, sizeof *tree->last))
                 && (tree->box = array(most, sizeof *tree->box))
                 && (tree->outline = array(most, sizeof *tree->outline));
    if (enough) {
        memset(tree->parent, 0xFF, most * sizeof *tree->parent);
        memset(tree->head, 0xFF, most * sizeof *tree->head);
        memset(tree->met, 0xFF, most * sizeof *tree->met);
    }
    return enough;
}

static void measure_leaves(Tree *tree, const int32_t *labels, const float *channels, size_t rows,
                           size_t columns)
{
    for (int32_t leaf = 0; leaf < tree->leaves; leaf++)
        memcpy(tree->box[leaf], (int32_t[4]){INT32_MAX, INT32_MAX, 0, 0}, sizeof *tree->box);
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++) {
            size_t pixel = row * columns + column;
            int32_t leaf = labels[pixel], *box = tree->box[leaf];
            int32_t x = (int32_t)column, y = (int32_t)row;
            tree->area[leaf] += 1;
            for (int c = 0; c < CHANNELS; c++)
                tree->colour[leaf][c] += channels[CHANNELS * pixel + c];
            box[0] = x < box[0] ? x : box[0];
            box[1] = y < box[1] ? y : box[1];
            box[2] = x + 1 > box[2] ? x + 1 : box[2];
            box[3] = y + 1;
        }
    for (int32_t leaf = 0; leaf < tree->leaves; leaf++)
        for (int c = 0; c < CHANNELS; c++)
            tree->colour[leaf][c] /= tree->area[leaf];
}

static int find_borders(Tree *tree, const int32_t *labels, const float *gradient, size_t rows,
                        size_t columns, int32_t apart)
{
    Borders *all = &tree->all;
    if (!add_borders(all, labels, gradient, rows, columns, 1, apart)
        || !add_borders(all, labels, gradient, rows, columns, 0, apart))
        return 0;
    if (all->count)
        qsort(all->borders, all->count, sizeof *all->borders, by_ends);
    tree->next = array(2 * all->count, sizeof *tree->next);
    return tree->next != NULL;
}

/* Depth first, the child with the smaller number before the other. */
static void number_leaves(Tree *tree)
{
    int32_t *size = tree->met, position = 0; /* no more merges: the room is free */
    for (int32_t node = 0; node < tree->count; node++) {
        const int32_t *children = &tree->children[2 * node];
        size[node] = node < tree->leaves ? 1 : size[children[0]] + size[children[1]];
    }
    for (int32_t node = 0; node < tree->count; node++)
        if (tree->parent[node] == NONE) {
            tree->first[node] = position;
            position += size[node];
        }
    for (int32_t node = tree->count - 1; node >= 0; node--) {
        tree->last[node] = tree->first[node] + size[node];
        if (node >= tree->leaves) {
            const int32_t *children = &tree->children[2 * node];
            tree->first[children[0]] = tree->first[node];
            tree->first[children[1]] = tree->first[node] + size[children[0]];
        }
    }
}

static void enclose(Tree *tree)
{
    for (int32_t node = tree->leaves; node < tree->count; node++) {
        const int32_t *one = tree->box[tree->children[2 * node]];
        const int32_t *two = tree->box[tree->children[2 * node + 1]];
        for (int side = 0; side < 2; side++) {
            tree->box[node][side] = one[side] < two[side] ? one[side] : two[side];
            tree->box[node][side + 2] = one[side + 2] > two[side + 2] ? one[side + 2]
                                                                      : two[side + 2];
        }
    }
}

static int touch(Tree *tree, Touching *touching)
{
    size_t count = touching->count = tree->all.count;
    touching->leaves = array(count, sizeof *touching->leaves);
    touching->contrast = array(count, sizeof *touching->contrast);
    return touching->leaves && touching->contrast;
}

/* Length and mean strength of outlines: what the children have, without the seam between them.
   The room of `colour` serves for the sums, which begin with those of the leaves. */
static void outline(Tree *tree)
{
    for (int32_t node = 0; node < tree->count; node++) {
        double *sums = tree->colour[node];
        if (node >= tree->leaves) {
            const double *one = tree->colour[tree->children[2 * node]];
            const double *two = tree->colour[tree->children[2 * node + 1]];
            for (int i = 0; i < 2; i++)
                sums[i] = one[i] + two[i] - 2 * tree->seam[node][i];
        }
        tree->outline[node][0] = (float)sums[0];
        tree->outline[node][1] = (float)(sums[1] / (sums[0] > 1 ? sums[0] : 1));
    }
}

int grow(Tree *tree, Touching *touching, const int32_t *labels, const float *channels,
         const float *gradient, size_t rows, size_t columns, int32_t apart, double weight)
{
    if (!make_room(tree) || !find_borders(tree, labels, gradient, rows, columns, apart)
        || !touch(tree, touching))
        return 0;
    measure_leaves(tree, labels, channels, rows, columns);
    double(*sums)[2] = array((size_t)tree->leaves, sizeof *sums);
    if (!sums)
        return 0;
    for (int end = 0; end < 2; end++)
        for (size_t i = 0; i < touching->count; i++) {
            const Border *border = &tree->all.borders[i];
            touching->leaves[i][end] = border->ends[end];
            touching->contrast[i] = (float)(border->strength / border->length);
            sums[border->ends[end]][0] += border->length;
            sums[border->ends[end]][1] += border->strength;
        }
    int enough = merge_all(tree, weight);
    for (int32_t leaf = 0; leaf < tree->leaves; leaf++)
        memcpy(tree->colour[leaf], sums[leaf], sizeof *sums);
    free(sums);
    if (!enough)
        return 0;
    number_leaves(tree);
    enclose(tree);
    outline(tree);
    for (size_t i = 0; i < touching->count; i++) {
        int32_t a = tree->first[touching->leaves[i][0]], b = tree->first[touching->leaves[i][1]];
        touching->leaves[i][0] = a < b ? a : b;
        touching->leaves[i][1] = a < b ? b : a;
    }
    return 1;
}

void free_tree(Tree *tree, Touching *touching)
{
    void *held[] = {tree->area,        tree->cost,         tree->colour,     tree->seam,
                    tree->parent,      tree->children,     tree->head,       tree->tail,
                    tree->next,        tree->met,          tree->by,         tree->first,
                    tree->last,        tree->box,          tree->outline,    tree->all.borders,
                    tree->all.slots,   tree->heap.pairs,   touching->leaves, touching->contrast};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        free(held[i]);
}

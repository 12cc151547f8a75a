/* Bottom-up, the cheapest pair first: Ward's criterion with the strength of the border added. */

#include "native.h"

#include <math.h>
#include <stdlib.h>

static int before(const Pair *p, const Pair *q)
{
    if (p->cost != q->cost)
        return p->cost < q->cost;
    return p->a != q->a ? p->a < q->a : p->b < q->b;
}

static int pairs_push(Pairs *heap, Pair pair)
{
    if (heap->count == heap->room) {
        size_t room = heap->room ? 2 * heap->room : 4096;
        Pair *pairs = realloc(heap->pairs, room * sizeof *pairs);
        if (!pairs)
            return 0;
        heap->pairs = pairs;
        heap->room = room;
    }
    size_t child = heap->count++;
    while (child > 0 && before(&pair, &heap->pairs[(child - 1) / 2])) {
        heap->pairs[child] = heap->pairs[(child - 1) / 2];
        child = (child - 1) / 2;
    }
    heap->pairs[child] = pair;
    return 1;
}

static Pair pairs_pop(Pairs *heap)
{
    Pair *pairs = heap->pairs, first = pairs[0], last = pairs[--heap->count];
    size_t parent = 0, child = 1;
    while (child < heap->count) {
        if (child + 1 < heap->count && before(&pairs[child + 1], &pairs[child]))
            child++;
        if (!before(&pairs[child], &last))
            break;
        pairs[parent] = pairs[child];
        parent = child;
        child = 2 * parent + 1;
    }
    pairs[parent] = last;
    return first;
}

/* Ward: the rise of the squared error if both become one, the strength of their border added. */
static double cost_of(const Tree *tree, int32_t a, int32_t b, const Border *border, double weight)
{
    double difference = 0.0, mean = border->strength / border->length;
    for (int c = 0; c < CHANNELS; c++) {
        double d = tree->colour[a][c] - tree->colour[b][c];
        difference += d * d;
    }
    return tree->area[a] * tree->area[b] / (tree->area[a] + tree->area[b])
           * (difference + weight * (mean * mean));
}

static void append_end(Tree *tree, int32_t node, int32_t end)
{
    tree->next[end] = NONE;
    if (tree->head[node] == NONE)
        tree->head[node] = end;
    else
        tree->next[tree->tail[node]] = end;
    tree->tail[node] = end;
}

/* Hand the borders of a child to its parent; two with the same neighbour become one. */
static void hand_over(Tree *tree, int32_t child, int32_t node)
{
    int32_t next;
    for (int32_t end = tree->head[child]; end != NONE; end = next) {
        Border *border = &tree->all.borders[end >> 1];
        int side = end & 1;
        int32_t other = border->ends[!side];
        next = tree->next[end];
        if (border->length == 0.0)
            continue; /* it went into another one, or is the seam */
        if (tree->parent[other] == node) {
            tree->seam[node][0] = border->length;
            tree->seam[node][1] = border->strength;
            border->length = 0.0;
        } else if (tree->met[other] == node) {
            Border *same = &tree->all.borders[tree->by[other]];
            same->length += border->length;
            same->strength += border->strength;
            border->length = 0.0;
        } else {
            tree->met[other] = node;
            tree->by[other] = end >> 1;
            border->ends[side] = node;
            append_end(tree, node, end);
        }
    }
}

static void join(Tree *tree, int32_t a, int32_t b, double cost)
{
    int32_t node = tree->count++;
    double area = tree->area[a] + tree->area[b], share = tree->area[a] / area;
    for (int c = 0; c < CHANNELS; c++)
        tree->colour[node][c] = share * tree->colour[a][c] + (1 - share) * tree->colour[b][c];
    tree->area[node] = area;
    /* Monotone, so that a cut is a threshold. */
    tree->cost[node] = fmax(cost, fmax(tree->cost[a], tree->cost[b]));
    tree->parent[a] = tree->parent[b] = node;
    tree->children[2 * node] = a < b ? a : b;
    tree->children[2 * node + 1] = a < b ? b : a;
    hand_over(tree, a, node);
    hand_over(tree, b, node);
}

int merge_all(Tree *tree, double weight)
{
    const Border *borders = tree->all.borders;
    for (size_t i = 0; i < tree->all.count; i++) {
        int32_t a = borders[i].ends[0], b = borders[i].ends[1];
        append_end(tree, a, (int32_t)(2 * i));
        append_end(tree, b, (int32_t)(2 * i + 1));
        if (!pairs_push(&tree->heap, (Pair){cost_of(tree, a, b, &borders[i], weight), a, b}))
            return 0;
    }
    while (tree->heap.count) {
        Pair pair = pairs_pop(&tree->heap);
        if (tree->parent[pair.a] != NONE || tree->parent[pair.b] != NONE)
            continue; /* one of them has been merged since */
        join(tree, pair.a, pair.b, pair.cost);
        int32_t node = tree->count - 1;
        for (int32_t end = tree->head[node]; end != NONE; end = tree->next[end]) {
            const Border *border = &borders[end >> 1];
            int32_t other = border->ends[!(end & 1)];
            Pair further = {cost_of(tree, node, other, border, weight), node, other};
            if (!pairs_push(&tree->heap, further))
                return 0;
        }
    }
    return 1;
}

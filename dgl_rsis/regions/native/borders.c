/* Which leaves touch, along how many pixels, and how strongly. */

#include "native.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t slot_of(const Borders *all, int32_t low, int32_t high)
{
    uint64_t key = ((uint64_t)(uint32_t)low << 32 | (uint32_t)high) * 0x9E3779B97F4A7C15u;
    size_t slot = (size_t)(key >> 32) & all->mask;
    while (all->slots[slot] != NONE) {
        const Border *border = &all->borders[all->slots[slot]];
        if (border->ends[0] == low && border->ends[1] == high)
            break;
        slot = (slot + 1) & all->mask;
    }
    return slot;
}

static int widen(Borders *all)
{
    size_t room = all->room ? 2 * all->room : 1024;
    Border *borders = realloc(all->borders, room * sizeof *borders);
    if (!borders)
        return 0;
    all->borders = borders;
    int32_t *slots = realloc(all->slots, 4 * room * sizeof *slots);
    if (!slots)
        return 0;
    all->slots = slots;
    all->room = room;
    all->mask = 4 * room - 1;
    memset(slots, 0xFF, 4 * room * sizeof *slots);
    for (size_t i = 0; i < all->count; i++)
        slots[slot_of(all, borders[i].ends[0], borders[i].ends[1])] = (int32_t)i;
    return 1;
}

static Border *border_between(Borders *all, int32_t a, int32_t b)
{
    int32_t low = a < b ? a : b, high = a < b ? b : a;
    if (all->count == all->room && !widen(all))
        return NULL;
    size_t slot = slot_of(all, low, high);
    if (all->slots[slot] == NONE) {
        all->slots[slot] = (int32_t)all->count;
        all->borders[all->count++] = (Border){{low, high}, 0, 0.0, 0.0};
    }
    return &all->borders[all->slots[slot]];
}

/* Sum the borders between pixels `step` apart; `last` columns of each row have no such pixel.
   Sideways and downwards are summed apart and then added, as rounding depends on the order. */
int add_borders(Borders *all, const int32_t *labels, const float *gradient, size_t rows,
                size_t columns, int sideways, int32_t apart)
{
    size_t step = sideways ? 1 : columns, wide = columns - (sideways ? 1 : 0);
    size_t high = rows - (sideways ? 0 : 1), known = all->count, room = known;
    double *sums = NULL;
    int enough = 1;
    if (known && !(sums = calloc(known, sizeof *sums)))
        return 0;
    for (size_t row = 0; enough && row < high; row++)
        for (size_t pixel = row * columns; pixel < row * columns + wide; pixel++) {
            int32_t a = labels[pixel], b = labels[pixel + step];
            if (a == b || a == apart || b == apart)
                continue;
            Border *border = border_between(all, a, b);
            if (!border) {
                enough = 0;
                break;
            }
            size_t number = (size_t)(border - all->borders);
            double strength = fmaxf(gradient[pixel], gradient[pixel + step]);
            border->length += 1;
            border->sideways |= sideways;
            if (number < room)
                sums[number] += strength;
            else
                border->strength += strength;
        }
    for (size_t i = 0; i < known; i++)
        all->borders[i].strength += sums[i];
    free(sums);
    return enough;
}

int by_ends(const void *first, const void *second)
{
    const Border *a = first, *b = second;
    if (a->ends[0] != b->ends[0])
        return a->ends[0] < b->ends[0] ? -1 : 1;
    if (a->sideways != b->sideways)
        return a->sideways ? -1 : 1;
    return (a->ends[1] > b->ends[1]) - (a->ends[1] < b->ends[1]);
}

/* Water rises from the seeds; where two basins meet, their border runs. */

#include "native.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t key; /* height, then order of arrival */
    uint32_t pixel;
} Drop;

typedef struct {
    Drop *drops;
    size_t count;
} Flood;

/* The bits of a float, so that unsigned integers compare as the floats do. */
static uint64_t height_bits(float height)
{
    uint32_t bits;
    height += 0.0f; /* −0 is 0 */
    memcpy(&bits, &height, sizeof bits);
    return bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
}

static void flood_push(Flood *flood, Drop drop)
{
    size_t child = flood->count++;
    while (child > 0) {
        size_t parent = (child - 1) / 2;
        if (flood->drops[parent].key <= drop.key)
            break;
        flood->drops[child] = flood->drops[parent];
        child = parent;
    }
    flood->drops[child] = drop;
}

static Drop flood_pop(Flood *flood)
{
    Drop *drops = flood->drops, lowest = drops[0], last = drops[--flood->count];
    size_t parent = 0, child = 1;
    while (child < flood->count) {
        if (child + 1 < flood->count && drops[child + 1].key < drops[child].key)
            child++;
        if (last.key <= drops[child].key)
            break;
        drops[parent] = drops[child];
        parent = child;
        child = 2 * parent + 1;
    }
    drops[parent] = last;
    return lowest;
}

int flood_basins(const float *relief, int32_t *basins, const uint8_t *wanted, size_t rows,
                 size_t columns)
{
    uint64_t arrived = 0;
    size_t pixels = rows * columns;
    Flood all = {malloc((pixels + 1) * sizeof(Drop)), 0}, *flood = &all;
    if (!all.drops)
        return 0;
    for (size_t pixel = 0; pixel < pixels; pixel++)
        if (basins[pixel])
            flood_push(flood, (Drop){height_bits(relief[pixel]) << 32, (uint32_t)pixel});
    while (flood->count) {
        Drop drop = flood_pop(flood);
        size_t pixel = drop.pixel, column = pixel % columns;
        uint64_t level = drop.key >> 32;
        const size_t beside[4] = {pixel - columns, pixel - 1, pixel + 1, pixel + columns};
        const int there[4] = {pixel >= columns, column > 0, column + 1 < columns,
                              pixel + columns < pixels};
        for (int side = 0; side < 4; side++) {
            size_t next = beside[side];
            if (!there[side] || basins[next] || !wanted[next])
                continue;
            uint64_t height = height_bits(relief[next]); /* what lies lower is flooded at once */
            basins[next] = basins[pixel];
            height = height > level ? height : level;
            flood_push(flood, (Drop){height << 32 | ++arrived, (uint32_t)next});
        }
    }    free(all.drops);
    return 1;
}

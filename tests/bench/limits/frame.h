/* Frames of a connection between Erlang nodes, as far as limits/cnode.c needs them: four bytes of length and a body
 * (OTP document "Distribution Protocol"), without atom cache and fragments. */
#ifndef FRAME_H
#define FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Who has asked: an encoded pid. */
struct caller {
    unsigned char pid[300];
    size_t length;
};

static void put32(unsigned char *to, uint32_t value) {
    to[0] = (unsigned char)(value >> 24);
    to[1] = (unsigned char)(value >> 16);
    to[2] = (unsigned char)(value >> 8);
    to[3] = (unsigned char)value;
}

static uint32_t get32(const unsigned char *from) {
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

/* Writes the start of a frame that sends a binary of that length to the caller: {2, '', Pid}, 131, 109, length. */
static size_t prefix(unsigned char *to, const struct caller *caller, size_t length) {
    static const unsigned char head[] = {112, 131, 104, 3, 97, 2, 119, 0};
    size_t at = 4;
    memcpy(to + at, head, sizeof head);
    at += sizeof head;
    memcpy(to + at, caller->pid, caller->length);
    at += caller->length;
    to[at++] = 131;
    to[at++] = 109;
    put32(to + at, (uint32_t)length);
    at += 4;
    put32(to, (uint32_t)(at - 4 + length));
    return at;
}

/* The length of an encoded atom, 0 if there is none. */
static size_t atom(const unsigned char *at) {
    switch (at[0]) {
    case 115: case 119: return 2 + (size_t)at[1];
    case 100: case 118: return 3 + ((size_t)at[1] << 8 | at[2]);
    default: return 0;
    }
}

/* Where the binary of a REG_SEND begins within the frame at `at`, with its length and sender; NULL for any other. The
 * first bytes of the frame are there, as many as a control tuple can have. */
static unsigned char *binary_of(unsigned char *at, struct caller *caller, size_t *length) {
    if (at[4] != 112 || at[5] != 131 || at[6] != 104 || at[7] != 4 || at[8] != 97 || at[9] != 6 || at[10] != 88)
        return NULL;
    unsigned char *pid = at + 10;
    caller->length = 1 + atom(pid + 1) + 12;
    memcpy(caller->pid, pid, caller->length);
    unsigned char *name = pid + caller->length;
    name += atom(name);
    name += atom(name);
    if (name[0] != 131 || name[1] != 109) return NULL;
    *length = get32(name + 2);
    return name + 6;
}

#endif

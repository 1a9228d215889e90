/* How is a datagram answered from the table in a microsecond? `mooring.dns.table_answer` in C, and the loop of a worker around it.
 *
 * The table (mooring/dns/table.py) may be written to while it is read, and a damaged one must do no harm: every place in it is
 * checked against the size of the mapping before it is read, and every loop ends. Numbers in it are little-endian.
 *
 * Long because the format's reader, the loop and the counters must be one unit for the compiler: the hit path is inlined.
 */
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the table is little-endian; without this module the same is done in Python"
#endif

/* The table, as mooring/dns/table.py describes it. */
#define MAGIC 0x0100534e4467726dULL
#define HEADER_SIZE 4096
#define ZONES 2048
#define MAX_ZONES ((HEADER_SIZE - ZONES) / 8)
#define PREFIX_SIZE 20
#define ENTRY_SIZE 8
#define TYPE_SIZE 16
enum { F_MAGIC, F_FLAGS, F_SERIAL, F_SLOTS, F_SLOTS_AT, F_ARENA_AT, F_USED, F_ZONES, F_PREFIXES, F_PREFIXES_AT, F_RATE, F_BURST };
enum { SYNCED = 1, SUPERSEDED = 2, ALL_TO_AGENT = 4, RECURSION = 8 };
enum { ENTRY_ASK = 1, ENTRY_ASK_BELOW = 2 };
enum { TYPE_ROTATES = 1, TYPE_SOA = 2 };

/* Messages. */
#define MESSAGE_HEADER 12
#define CLASSIC_LIMIT 512
#define UDP_LIMIT 1232
#define OPT_SIZE 11
enum { NOERROR = 0, SERVFAIL = 2, NXDOMAIN = 3, REFUSED = 5 };
enum { ASK = -1, DROP = 0 };

/* Counters, 64 bits each, as mooring/edges/dns/counters.py names them. */
#define TYPES 12
enum {
    C_REQUESTS = 16, C_RESPONSES = 40, C_HITS = 56, C_MISSES, C_HANDED, C_DROPPED, C_LIMITED, C_LOST, C_UNSENT, C_TRUNCATED, C_BATCHES,
    C_DURATION = 72, C_DURATION_SUM = 89, C_REQUEST_SIZE = 96, C_REQUEST_SIZE_SUM = 111, C_RESPONSE_SIZE = 112, C_RESPONSE_SIZE_SUM = 127,
    COUNTERS = 128
};

#define BATCH 64
#define ROUNDS 16 /* batches from one socket before the others have their turn */
#define IN_SIZE 4096
#define OUT_SIZE 1280
#define HANDED_HEADER 28
#define BUCKETS 8192

static uint32_t crc_table[256];

static void fill_crc_table(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t c = n;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[n] = c;
    }
}

static inline uint32_t crc32_of(const uint8_t *octets, size_t length) {
    uint32_t c = 0xFFFFFFFFu;
    for (size_t n = 0; n < length; n++) c = crc_table[(c ^ octets[n]) & 0xFF] ^ (c >> 8);
    return c ^ 0xFFFFFFFFu;
}

static inline uint64_t load64(const uint8_t *at) { return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE); }
static inline uint32_t load32(const uint8_t *at) { uint32_t v; memcpy(&v, at, 4); return v; }
static inline uint16_t load16(const uint8_t *at) { uint16_t v; memcpy(&v, at, 2); return v; }
static inline uint16_t net16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline void put16(uint8_t *at, unsigned v) { at[0] = (uint8_t)(v >> 8); at[1] = (uint8_t)v; }

typedef struct {
    const uint8_t *base;
    size_t size;
    const uint8_t *slots;
    uint64_t mask;
} Table;

typedef struct {
    const uint8_t *entry;
    uint8_t flags, zone, types;
} Found;

typedef struct {
    uint8_t lower[256];
    uint8_t starts[128];    /* of its labels, the root's too */
    uint32_t hashes[128];   /* of the name from each label on */
    unsigned labels;
    size_t name_length;     /* with the root's label */
    size_t octets;          /* name, type and class */
    uint16_t type;
    int edns, dnssec_ok;
    size_t limit;
} Question;

typedef struct {
    uint16_t type;
    uint8_t rcode, hit, truncated;
} Outcome;

static inline uint64_t field(const Table *t, int number) { return load64(t->base + 8 * number); }

/* 0: no table of this version. The buffer must be aligned to 8 octets. */
static int open_table(Table *t, const uint8_t *base, size_t size) {
    if (size < HEADER_SIZE || ((uintptr_t)base & 7)) return 0;
    t->base = base;
    t->size = size;
    uint64_t count = field(t, F_SLOTS), at = field(t, F_SLOTS_AT);
    if (field(t, F_MAGIC) != MAGIC || count == 0 || (count & (count - 1)) || (at & 7) || at > size || count > (size - at) / 8) return 0;
    t->slots = base + at;
    t->mask = count - 1;
    return 1;
}

static int find(const Table *t, const uint8_t *name, size_t length, uint32_t hash, Found *found) {
    uint64_t at = hash & t->mask;
    for (uint64_t tries = 0; tries <= t->mask; tries++, at = (at + 1) & t->mask) {
        uint64_t word = load64(t->slots + 8 * at);
        if (word == 0) return 0;
        if ((uint32_t)(word >> 32) != hash) continue;
        size_t place = (size_t)(uint32_t)word * 8;
        if (place < HEADER_SIZE || place > t->size - ENTRY_SIZE) continue;
        const uint8_t *entry = t->base + place;
        size_t name_at = ENTRY_SIZE + (size_t)entry[7] * TYPE_SIZE;
        if (entry[6] != length || name_at + length > t->size - place || memcmp(entry + name_at, name, length) != 0) continue;
        found->entry = entry;
        found->flags = entry[4];
        found->zone = entry[5];
        found->types = entry[7];
        return 1;
    }
    return 0;
}

/* 0: no plain question; the agent has to look at it. */
static int read_question(const uint8_t *m, size_t n, Question *q) {
    if ((m[2] & 0x7A) || m[4] || m[5] != 1 || m[6] || m[7] || m[8] || m[9] || m[10] || m[11] > 1) return 0;
    size_t at = MESSAGE_HEADER;
    q->labels = 0;
    while (at < n && m[at]) {
        if (m[at] > 63 || q->labels == 127) return 0;
        q->starts[q->labels++] = (uint8_t)(at - MESSAGE_HEADER);
        at += 1 + (size_t)m[at];
        if (at - MESSAGE_HEADER > 254) return 0;
    }
    size_t end = at + 5;
    if (end > n) return 0;
    q->starts[q->labels++] = (uint8_t)(at - MESSAGE_HEADER);
    q->name_length = at + 1 - MESSAGE_HEADER;
    for (size_t i = 0; i < q->name_length; i++) {
        uint8_t octet = m[MESSAGE_HEADER + i];
        q->lower[i] = octet | (uint8_t)(((uint8_t)(octet - 'A') < 26) << 5);
    }
    q->octets = end - MESSAGE_HEADER;
    q->type = net16(m + at + 1);
    if (net16(m + at + 3) != 1 || q->type == 0 || q->type == 41 || (q->type >= 249 && q->type <= 255)) return 0;
    q->edns = m[11];
    q->dnssec_ok = 0;
    q->limit = CLASSIC_LIMIT;
    if (!q->edns) return end == n;
    const uint8_t *opt = m + end;
    if (n - end != OPT_SIZE || opt[0] || opt[1] || opt[2] != 41 || opt[6] || opt[9] || opt[10]) return 0;
    size_t payload = net16(opt + 3);
    q->limit = payload < CLASSIC_LIMIT ? CLASSIC_LIMIT : payload > UDP_LIMIT ? UDP_LIMIT : payload;
    q->dnssec_ok = opt[7] & 0x80;
    return 1;
}

/* A name is hashed from its last octet to its first: so one pass gives the hashes of all its ancestors too. */
static void hash_names(Question *q) {
    uint32_t c = 0xFFFFFFFFu;
    size_t at = q->name_length;
    for (unsigned label = q->labels; label-- > 0;) {
        while (at > q->starts[label]) c = crc_table[(c ^ q->lower[--at]) & 0xFF] ^ (c >> 8);
        q->hashes[label] = c ^ 0xFFFFFFFFu;
    }
}

static int allowed(const Table *t, const uint8_t *client, size_t length) {
    uint64_t count = field(t, F_PREFIXES), at = field(t, F_PREFIXES_AT);
    if (count == 0) return 1;
    if (at > t->size || count > (t->size - at) / PREFIX_SIZE) return 0;
    for (const uint8_t *each = t->base + at; count; count--, each += PREFIX_SIZE) {
        if (each[0] != (length == 4 ? 4 : 6)) continue;
        size_t bits = each[1] < 8 * length ? each[1] : 8 * length;
        if (memcmp(each + 4, client, bits / 8) != 0) continue;
        if (bits % 8 && ((each[4 + bits / 8] ^ client[bits / 8]) >> (8 - bits % 8))) continue;
        return 1;
    }
    return 0;
}

/* Header, question and OPT around `records` octets that stand in place already. */
static size_t finish(const uint8_t *m, const Question *q, uint8_t *out, size_t records, const uint16_t *counts, unsigned high, unsigned low) {
    memcpy(out, m, 2);
    out[2] = (uint8_t)(high | (m[2] & 0x01));
    out[3] = (uint8_t)(low | (m[3] & 0x10));
    put16(out + 4, 1);
    put16(out + 6, counts[0]);
    put16(out + 8, counts[1]);
    put16(out + 10, counts[2] + (q->edns ? 1u : 0u));
    memcpy(out + MESSAGE_HEADER, m + MESSAGE_HEADER, q->octets);
    uint8_t *end = out + MESSAGE_HEADER + q->octets + records;
    if (q->edns) {
        static const uint8_t opt[OPT_SIZE] = {0, 0, 41, UDP_LIMIT >> 8, UDP_LIMIT & 0xFF, 0, 0, 0, 0, 0, 0};
        memcpy(end, opt, OPT_SIZE);
        end[7] = (uint8_t)q->dnssec_ok;
        end += OPT_SIZE;
    }
    return (size_t)(end - out);
}

/* The octets after the record at `at`, or 0 when it leads out of the section. */
static size_t record_end(const uint8_t *octets, size_t length, size_t at) {
    while (at < length && octets[at]) {
        if (octets[at] & 0xC0) {
            at++;
            break;
        }
        at += 1 + (size_t)octets[at];
    }
    at += 11;
    if (at > length) return 0;
    at += net16(octets + at - 2);
    return at > length ? 0 : at;
}

/* Copies what fits of a type's records; how many octets, or ASK when the table is damaged. */
static long copy_sections(const uint8_t *entry, size_t room_in_table, const uint8_t *type, uint8_t *out, size_t room, uint32_t rotation,
                          uint16_t *counts, uint8_t *truncated) {
    size_t length = load16(type + 10), at = load32(type + 12), unit = type[3];
    uint16_t answers = load16(type + 4), all[3] = {answers, load16(type + 6), load16(type + 8)};
    if (at > room_in_table || length > room_in_table - at) return ASK;
    const uint8_t *octets = entry + at;
    if ((type[2] & TYPE_ROTATES) && unit && answers && unit * (size_t)answers == length) {
        size_t fits = room / unit, first = rotation % answers;
        if (fits >= answers) fits = answers; else *truncated = 1;
        size_t head = answers - first < fits ? answers - first : fits;
        memcpy(out, octets + first * unit, head * unit);
        memcpy(out + head * unit, octets, (fits - head) * unit);
        counts[0] = (uint16_t)fits;
        return (long)(fits * unit);
    }
    if (length <= room) {
        memcpy(out, octets, length);
        memcpy(counts, all, sizeof all);
        return (long)length;
    }
    size_t end = 0;
    for (int section = 0; section < 3; section++) {
        for (; counts[section] < all[section]; counts[section]++) {
            size_t after = record_end(octets, length, end);
            if (after == 0) return ASK;
            if (after > room) {
                *truncated = section < 2;
                memcpy(out, octets, end);
                return (long)end;
            }
            end = after;
        }
    }
    memcpy(out, octets, end);
    return (long)end;
}

/* The zone's SOA with the table's serial; its octets, 0 when it does not fit, ASK when the table is damaged. */
static long copy_soa(const Table *t, unsigned zone, const Question *q, uint8_t *out, size_t room) {
    uint64_t zones = field(t, F_ZONES);
    if (zone >= MAX_ZONES || zone >= zones) return ASK;
    const uint8_t *told = t->base + ZONES + 8 * zone;
    size_t at = load32(told), length = load16(told + 4), of_name = load16(told + 6);
    if (at > t->size || length > t->size - at || length < 20 || of_name == 0 || of_name > q->name_length) return ASK;
    if (length + 2 > room) return 0;
    put16(out, 0xC000u | (unsigned)(MESSAGE_HEADER + q->name_length - of_name));
    memcpy(out + 2, t->base + at, length);
    uint32_t serial = (uint32_t)field(t, F_SERIAL);
    uint8_t *place = out + 2 + length - 20;
    put16(place, serial >> 16);
    put16(place + 2, serial & 0xFFFF);
    return (long)length + 2;
}

static long reply(const Table *t, const uint8_t *m, const Question *q, uint64_t flags, const Found *found, unsigned rcode, uint32_t rotation,
                  uint8_t *out, Outcome *o) {
    size_t before = MESSAGE_HEADER + q->octets, after = q->edns ? OPT_SIZE : 0;
    size_t room = q->limit > before + after ? q->limit - before - after : 0;
    uint16_t counts[3] = {0, 0, 0};
    const uint8_t *type = NULL;
    long records = 0;
    if (rcode == NOERROR) {
        for (unsigned n = 0; n < found->types; n++) {
            const uint8_t *each = found->entry + ENTRY_SIZE + n * TYPE_SIZE;
            if (load16(each) == q->type) {
                type = each;
                break;
            }
        }
    }
    if (type && !(type[2] & TYPE_SOA)) {
        records = copy_sections(found->entry, t->size - (size_t)(found->entry - t->base), type, out + before, room, rotation, counts, &o->truncated);
    } else if (rcode != SERVFAIL) {
        records = copy_soa(t, found->zone, q, out + before, room);
        o->truncated = records == 0;
        counts[type ? 0 : 1] = records > 0;
    }
    if (records < 0) return ASK;
    o->rcode = (uint8_t)rcode;
    unsigned high = (rcode == SERVFAIL ? 0x80u : 0x84u) | (o->truncated ? 0x02u : 0u), low = rcode | (flags & RECURSION ? 0x80u : 0u);
    return (long)finish(m, q, out, (size_t)records, counts, high, low);
}

/* The reply's octets in `out` (OUT_SIZE), DROP or ASK. */
static long respond(const Table *t, const uint8_t *m, size_t n, const uint8_t *client, size_t client_length, uint32_t rotation, uint8_t *out,
                    Outcome *o) {
    memset(o, 0, sizeof *o);
    if (n < MESSAGE_HEADER || (m[2] & 0x80)) return DROP;
    Question q;
    q.type = 0;
    int plain = read_question(m, n, &q);
    if (!allowed(t, client, client_length)) {
        static const uint16_t none[3] = {0, 0, 0};
        o->rcode = REFUSED;
        if (plain) {
            o->type = q.type;
            return (long)finish(m, &q, out, 0, none, 0x80 | (m[2] & 0x78), REFUSED);
        }
        memset(out, 0, MESSAGE_HEADER);
        memcpy(out, m, 2);
        out[2] = 0x80 | (m[2] & 0x79);
        out[3] = (uint8_t)(REFUSED | (m[3] & 0x10));
        return MESSAGE_HEADER;
    }
    if (!plain) return ASK;
    o->type = q.type;
    uint64_t flags = field(t, F_FLAGS);
    if (flags & ALL_TO_AGENT) return ASK;
    hash_names(&q);
    Found found;
    if (find(t, q.lower, q.name_length, q.hashes[0], &found)) {
        o->hit = 1;
        return found.flags & ENTRY_ASK ? ASK : reply(t, m, &q, flags, &found, NOERROR, rotation, out, o);
    }
    for (unsigned label = 1; label < q.labels; label++) {
        size_t at = q.starts[label];
        if (find(t, q.lower + at, q.name_length - at, q.hashes[label], &found)) {
            if (found.flags & ENTRY_ASK_BELOW) return ASK;
            return reply(t, m, &q, flags, &found, flags & SYNCED ? NXDOMAIN : SERVFAIL, rotation, out, o);
        }
    }
    return ASK;
}

/* The token buckets of one worker: a client has the place its address hashes to, for as long as no other takes it. */
typedef struct {
    uint8_t client[16];
    uint64_t last; /* nanoseconds */
    double tokens;
} Bucket;

static Bucket *buckets;

static int within_rate(const Table *t, const uint8_t *client, size_t length, uint64_t now) {
    uint64_t rate = field(t, F_RATE), burst = field(t, F_BURST);
    if (rate == 0 || buckets == NULL) return 1;
    Bucket *bucket = &buckets[crc32_of(client, length) % BUCKETS];
    uint8_t whole[16] = {0};
    memcpy(whole, client, length);
    if (memcmp(bucket->client, whole, 16) != 0 || bucket->last == 0) {
        memcpy(bucket->client, whole, 16);
        bucket->tokens = (double)burst;
    } else {
        bucket->tokens += (double)rate * (double)(now - bucket->last) / 1e9;
        if (bucket->tokens > (double)burst) bucket->tokens = (double)burst;
    }
    bucket->last = now;
    if (bucket->tokens < 1.0) return 0;
    bucket->tokens -= 1.0;
    return 1;
}

/* Everything a worker needs for its loop, allocated once. */
typedef struct {
    struct mmsghdr in[BATCH], out[BATCH];
    struct iovec in_iov[BATCH], out_iov[BATCH];
    struct sockaddr_in6 from[BATCH];
    uint8_t in_octets[BATCH][IN_SIZE], out_octets[BATCH][OUT_SIZE];
    size_t asked[BATCH]; /* octets of the question that a reply answers */
    Table table;
    uint64_t *counters;
    uint32_t random;
    int handover, worker;
    int handover_lost;
} Loop;

static uint64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static unsigned type_number(uint16_t type) {
    switch (type) {
    case 1: return 1;
    case 2: return 2;
    case 5: return 3;
    case 6: return 4;
    case 12: return 5;
    case 15: return 6;
    case 16: return 7;
    case 28: return 8;
    case 33: return 9;
    case 64: return 10;
    case 65: return 11;
    default: return 0;
    }
}

static const uint32_t size_bounds[] = {0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000};

static void count_size(uint64_t *counters, int first, int sum, size_t size) {
    int bucket = 0;
    while (bucket < 14 && size > size_bounds[bucket]) bucket++;
    counters[first + bucket]++;
    counters[sum] += size;
}

static void count_duration(uint64_t *counters, uint64_t took, unsigned answers) {
    int bucket = 0;
    for (uint64_t bound = 250000; bucket < 16 && took > bound; bucket++) bound *= 2;
    counters[C_DURATION + bucket] += answers;
    counters[C_DURATION_SUM] += took * answers;
}

static void hand_over(Loop *l, int socket_number, const struct sockaddr_in6 *from, const uint8_t *message, size_t length) {
    if (l->handover < 0) {
        l->counters[C_LOST]++;
        return;
    }
    uint8_t head[HANDED_HEADER] = {(uint8_t)l->worker, (uint8_t)socket_number};
    if (from->sin6_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        head[2] = 4;
        memcpy(head + 4, &v4->sin_port, 2);
        memcpy(head + 12, &v4->sin_addr, 4);
    } else {
        head[2] = 6;
        memcpy(head + 4, &from->sin6_port, 2);
        memcpy(head + 8, &from->sin6_scope_id, 4);
        memcpy(head + 12, &from->sin6_addr, 16);
    }
    struct iovec parts[2] = {{head, HANDED_HEADER}, {(void *)message, length}};
    struct msghdr whole = {.msg_iov = parts, .msg_iovlen = 2};
    if (sendmsg(l->handover, &whole, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        l->counters[C_HANDED]++;
        return;
    }
    l->counters[C_LOST]++;
    if (errno != EAGAIN && errno != EMSGSIZE && errno != ENOBUFS) l->handover_lost = 1;
}

static void send_all(Loop *l, int fd, unsigned count) {
    for (unsigned sent = 0; sent < count;) {
        int n = sendmmsg(fd, l->out + sent, count - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            sent += (unsigned)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            l->counters[C_UNSENT]++; /* this one has no way out; the others may */
            sent++;
        }
    }
}

static void answer_batch(Loop *l, int fd, int socket_number, unsigned received) {
    uint64_t started = nanoseconds();
    unsigned replies = 0;
    uint64_t *c = l->counters;
    for (unsigned n = 0; n < received; n++) {
        const uint8_t *message = l->in_octets[n];
        size_t length = l->in[n].msg_len;
        struct sockaddr_in6 *from = &l->from[n];
        int v4 = from->sin6_family == AF_INET;
        const uint8_t *client = v4 ? (const uint8_t *)&((struct sockaddr_in *)from)->sin_addr : (const uint8_t *)&from->sin6_addr;
        size_t client_length = v4 ? 4 : 16;
        if (l->in[n].msg_hdr.msg_flags & MSG_TRUNC) {
            c[C_DROPPED]++;
            continue;
        }
        if (!within_rate(&l->table, client, client_length, started)) {
            c[C_LIMITED]++;
            continue;
        }
        l->random ^= l->random << 13;
        l->random ^= l->random >> 17;
        l->random ^= l->random << 5;
        Outcome o;
        long size = respond(&l->table, message, length, client, client_length, l->random, l->out_octets[replies], &o);
        if (size == DROP) {
            c[C_DROPPED]++;
            continue;
        }
        if (size == ASK) {
            hand_over(l, socket_number, from, message, length);
            continue;
        }
        c[C_REQUESTS + (v4 ? 0u : TYPES) + type_number(o.type)]++;
        c[C_RESPONSES + (o.rcode & 15)]++;
        c[o.hit ? C_HITS : C_MISSES]++;
        c[C_TRUNCATED] += o.truncated;
        count_size(c, C_REQUEST_SIZE, C_REQUEST_SIZE_SUM, length);
        count_size(c, C_RESPONSE_SIZE, C_RESPONSE_SIZE_SUM, (size_t)size);
        l->out_iov[replies].iov_len = (size_t)size;
        l->out[replies].msg_hdr.msg_name = from;
        l->out[replies].msg_hdr.msg_namelen = l->in[n].msg_hdr.msg_namelen;
        replies++;
    }
    send_all(l, fd, replies);
    c[C_BATCHES]++;
    if (replies) count_duration(c, nanoseconds() - started, replies);
}

static void prepare(Loop *l) {
    for (int n = 0; n < BATCH; n++) {
        l->in_iov[n] = (struct iovec){l->in_octets[n], IN_SIZE};
        l->out_iov[n] = (struct iovec){l->out_octets[n], OUT_SIZE};
        l->in[n].msg_hdr = (struct msghdr){.msg_name = &l->from[n], .msg_namelen = sizeof l->from[n], .msg_iov = &l->in_iov[n], .msg_iovlen = 1};
        l->out[n].msg_hdr = (struct msghdr){.msg_iov = &l->out_iov[n], .msg_iovlen = 1};
    }
}

/* Maps the table that has the name now. 0: there is none; -1: none of this version. */
static int map_table(Table *t, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    struct stat about;
    void *base = MAP_FAILED;
    if (fstat(fd, &about) == 0 && about.st_size >= HEADER_SIZE) base = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (base == MAP_FAILED) return -1;
    if (open_table(t, base, (size_t)about.st_size)) return 1;
    munmap(base, (size_t)about.st_size);
    return -1;
}

/* The newer table, when this one was superseded and there is a newer one of our version; 0 when what came is foreign. */
static int follow(Table *t, const char *path) {
    if (!(field(t, F_FLAGS) & SUPERSEDED)) return 1;
    Table next;
    int mapped = map_table(&next, path);
    if (mapped == 0) return 1;
    if (mapped < 0) return 0;
    munmap((void *)t->base, t->size);
    *t = next;
    return 1;
}

enum { STOPPED, TIMEOUT, NO_TABLE, FOREIGN, HANDOVER_LOST, INTERRUPTED, BROKEN };

static int drain(Loop *l, const char *path, int fd, int number) {
    for (int round = 0; round < ROUNDS; round++) {
        for (int n = 0; n < BATCH; n++) l->in[n].msg_hdr.msg_namelen = sizeof l->from[n];
        int received = recvmmsg(fd, l->in, BATCH, MSG_DONTWAIT, NULL);
        if (received <= 0) return 1; /* nothing there, or an ICMP error of an earlier reply */
        if (!follow(&l->table, path)) return 0;
        answer_batch(l, fd, number, (unsigned)received);
        if (received < BATCH / 2) return 1;
    }
    return 1;
}

#define MAX_SOCKETS 64

static int serve_until(Loop *l, const char *path, const int *sockets, int count, int stop, int milliseconds) {
    struct pollfd waits[MAX_SOCKETS + 2];
    for (int n = 0; n < count; n++) waits[n] = (struct pollfd){.fd = sockets[n], .events = POLLIN};
    waits[count] = (struct pollfd){.fd = stop, .events = POLLIN};
    waits[count + 1] = (struct pollfd){.fd = l->handover, .events = 0}; /* hangs up when the agent is gone */
    uint64_t end = milliseconds < 0 ? UINT64_MAX : nanoseconds() + (uint64_t)milliseconds * 1000000u;
    for (;;) {
        int ready = poll(waits, (nfds_t)count + 2, milliseconds);
        if (ready < 0) return errno == EINTR ? INTERRUPTED : BROKEN;
        if (waits[count].revents) return STOPPED;
        for (int n = 0; n < count; n++) {
            if (waits[n].revents & (POLLHUP | POLLNVAL)) return BROKEN;
            if (waits[n].revents && !drain(l, path, sockets[n], n)) return FOREIGN;
        }
        if (l->handover_lost || waits[count + 1].revents) return HANDOVER_LOST;
        if (ready == 0 || (milliseconds >= 0 && nanoseconds() > end)) return TIMEOUT;
    }
}

static PyObject *py_serve(PyObject *self, PyObject *args) {
    (void)self;
    const char *path;
    PyObject *numbers;
    int stop, handover, worker, milliseconds, sockets[MAX_SOCKETS], count, ended = NO_TABLE;
    Py_buffer counters;
    if (!PyArg_ParseTuple(args, "sO!iiiw*i", &path, &PyTuple_Type, &numbers, &stop, &handover, &worker, &counters, &milliseconds)) return NULL;
    count = (int)PyTuple_GET_SIZE(numbers);
    if (count > MAX_SOCKETS || counters.len < COUNTERS * 8 || ((uintptr_t)counters.buf & 7)) {
        PyBuffer_Release(&counters);
        PyErr_SetString(PyExc_ValueError, "too many sockets, or no room for the counters");
        return NULL;
    }
    for (int n = 0; n < count; n++) sockets[n] = (int)PyLong_AsLong(PyTuple_GET_ITEM(numbers, n));
    Loop *l = PyErr_Occurred() ? NULL : calloc(1, sizeof *l);
    if (l == NULL) {
        PyBuffer_Release(&counters);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    if (buckets == NULL) buckets = calloc(BUCKETS, sizeof *buckets);
    prepare(l);
    l->counters = counters.buf;
    l->handover = handover;
    l->worker = worker;
    l->random = (uint32_t)nanoseconds() | 1;
    Py_BEGIN_ALLOW_THREADS
    int mapped = map_table(&l->table, path);
    if (mapped > 0) {
        ended = serve_until(l, path, sockets, count, stop, milliseconds);
        munmap((void *)l->table.base, l->table.size);
    } else if (mapped < 0) {
        ended = FOREIGN;
    }
    Py_END_ALLOW_THREADS
    free(l);
    PyBuffer_Release(&counters);
    return PyLong_FromLong(ended);
}

static PyObject *py_answer(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer table, message, client;
    unsigned int rotation = 0;
    if (!PyArg_ParseTuple(args, "y*y*y*|I", &table, &message, &client, &rotation)) return NULL;
    PyObject *result = NULL;
    Table t;
    Outcome o;
    uint8_t out[OUT_SIZE];
    if (client.len != 4 && client.len != 16) {
        PyErr_SetString(PyExc_ValueError, "a client's address has 4 or 16 octets");
    } else if (!open_table(&t, table.buf, (size_t)table.len)) {
        PyErr_SetString(PyExc_ValueError, "no table of this version");
    } else {
        long size = respond(&t, message.buf, (size_t)message.len, client.buf, (size_t)client.len, rotation, out, &o);
        result = size > 0 ? PyBytes_FromStringAndSize((char *)out, size) : PyUnicode_FromString(size == ASK ? "ask" : "drop");
    }
    PyBuffer_Release(&table);
    PyBuffer_Release(&message);
    PyBuffer_Release(&client);
    return result;
}

static PyObject *py_store(PyObject *self, PyObject *args) {
    (void)self;
    Py_buffer words;
    Py_ssize_t index;
    unsigned long long number;
    if (!PyArg_ParseTuple(args, "w*nK", &words, &index, &number)) return NULL;
    int fits = index >= 0 && index < words.len / 8 && !((uintptr_t)words.buf & 7);
    if (fits) __atomic_store_n((uint64_t *)words.buf + index, (uint64_t)number, __ATOMIC_RELEASE);
    PyBuffer_Release(&words);
    if (!fits) {
        PyErr_SetString(PyExc_IndexError, "no such word");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"serve", py_serve, METH_VARARGS,
     "serve(path, sockets, stop, handover, worker, counters, milliseconds) -> why it ended.\n\n"
     "Answers from the table at `path` on UDP sockets (a tuple of descriptors) until `stop` is readable, `handover` hangs up or\n"
     "`milliseconds` (-1: never) are over. `counters`: 1024 writable octets."},
    {"answer", py_answer, METH_VARARGS, "answer(table, message, client, rotation=0) -> the reply, 'ask' or 'drop'."},
    {"store", py_store, METH_VARARGS, "store(words, index, number): everything written before is seen before it."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "hotpath", "The hit path of the cluster's DNS, in C.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_hotpath(void) {
    fill_crc_table();
    PyObject *made = PyModule_Create(&module);
    if (made == NULL) return NULL;
    if (PyModule_AddIntMacro(made, STOPPED) || PyModule_AddIntMacro(made, TIMEOUT) || PyModule_AddIntMacro(made, NO_TABLE) ||
        PyModule_AddIntMacro(made, FOREIGN) || PyModule_AddIntMacro(made, HANDOVER_LOST) || PyModule_AddIntMacro(made, INTERRUPTED) ||
        PyModule_AddIntMacro(made, BROKEN)) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}

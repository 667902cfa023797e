/* Users with a WebSocket each, on epoll: frames out and in, one send a connection and turn. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define USERS_MAX 20000
#define IDS 1024              /* request numbers in flight on a connection, and more */
#define MESSAGE_BYTES 512     /* most are smaller */
#define INPUT_BYTES (8 << 20)

enum { OFFLINE, UPGRADING, GREETING, LOGGING_IN, ONLINE };
enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

typedef struct { const char *at; size_t size; } text;             /* a part of what was received */
typedef struct { char *at; size_t size, capacity; } buffer;
typedef struct {
    int fd, state;
    char *user, *token;
    uint64_t next_id;
    buffer rest, messages, out;       /* a frame that isn't whole; what is said in this turn, and its frames */
    uint32_t said;
    bool is_dirty;
    double acked;                     /* when it last told how far it has come, and what it heard since */
    uint32_t untold;
    uint32_t heard, answers, seq;     /* in a class */
    bool awaits, reads_all;
    uint8_t slot_of[IDS];             /* which call a request belongs to */
} connection;
typedef struct {
    void (*arrived)(connection *, text);
    bool batches;                     /* whether the messages of a turn go in one frame, an array */
    const char *path, *subprotocol;
} protocol;

static connection all[USERS_MAX];
static uint32_t users, online, connecting;
static connection *dirty[USERS_MAX];
static uint32_t dirty_count;
static int poller, port;
static double now;
static const protocol *speaks;
static char *input;
static uint64_t random_state;

static __attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t random_bits(void) {
    random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
    return random_state;
}

static const char *find(text in, const char *what) { return memmem(in.at, in.size, what, strlen(what)); }

#define WRONG(c, m, what) die("%s: %s: %.*s", (c)->user, what, (int)((m).size < 900 ? (m).size : 900), (m).at)

/* -- frames out ------------------------------------------------------------------------------------------ */

static char *room(buffer *b, size_t size) {
    if (b->size + size > b->capacity) {
        b->capacity = 2 * b->capacity > b->size + size ? 2 * b->capacity : b->size + size;
        if (!(b->at = realloc(b->at, b->capacity))) die("no memory");
    }
    return b->at + b->size;
}

static void touch(connection *c) {
    if (!c->is_dirty) dirty[dirty_count++] = c, c->is_dirty = true;
}

static void frame(connection *c, int opcode, const char *payload, size_t size) {
    uint8_t *to = (uint8_t *)room(&c->out, size + 14);
    uint8_t *at = to;
    *at++ = (uint8_t)(0x80 | opcode);
    if (size < 126) *at++ = (uint8_t)(0x80 | size);
    else if (size < 65536) *at++ = 0x80 | 126, *at++ = (uint8_t)(size >> 8), *at++ = (uint8_t)size;
    else {
        *at++ = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8) *at++ = (uint8_t)((uint64_t)size >> shift);
    }
    uint32_t key = (uint32_t)random_bits();
    uint64_t wide = (uint64_t)key << 32 | key, word;
    memcpy(at, &key, 4), at += 4;
    size_t done = 0;
    for (; done + 8 <= size; done += 8) {
        memcpy(&word, payload + done, 8);
        word ^= wide;
        memcpy(at + done, &word, 8);
    }
    for (; done < size; done++) at[done] = (uint8_t)payload[done] ^ (uint8_t)(key >> 8 * (done & 3));
    c->out.size += (size_t)(at - to) + size;
    touch(c);
}

static __attribute__((format(printf, 2, 3))) void say(connection *c, const char *format, ...) {
    va_list values;
    size_t size = 0;
    for (size_t limit = MESSAGE_BYTES; size == 0; limit *= 16) {
        char *at = room(&c->messages, limit);
        va_start(values, format);
        int wanted = vsnprintf(at + 1, limit - 1, format, values);
        va_end(values);
        if (wanted <= 0) die("a message can't be written");
        if ((size_t)wanted < limit - 1) size = (size_t)wanted;
    }
    char *at = c->messages.at + c->messages.size;
    if (!speaks->batches) frame(c, TEXT, at + 1, size);
    else *at = c->said++ ? ',' : '[', c->messages.size += size + 1, touch(c);
}

static void transmit(connection *c) {
    for (size_t sent = 0; sent < c->out.size;) {
        ssize_t more = send(c->fd, c->out.at + sent, c->out.size - sent, MSG_NOSIGNAL);
        if (more > 0) sent += (size_t)more;
        else if (errno == EAGAIN) poll(&(struct pollfd){c->fd, POLLOUT, 0}, 1, 1000);
        else die("%s: send: %s", c->user, strerror(errno));
    }
    c->out.size = 0;
}

static void flush(void) {
    for (uint32_t i = 0; i < dirty_count; i++) {
        connection *c = dirty[i];
        if (c->said > 1) {
            *room(&c->messages, 1) = ']';
            frame(c, TEXT, c->messages.at, c->messages.size + 1);
        } else if (c->said) frame(c, TEXT, c->messages.at + 1, c->messages.size - 1);
        c->said = 0, c->messages.size = 0, c->is_dirty = false;
        transmit(c);
    }
    dirty_count = 0;
}

/* -- frames in ----------------------------------------------------------------------------------------- */

static size_t take_upgrade(connection *c, text in) {
    const char *end = find(in, "\r\n\r\n");
    if (!end) return 0;
    if (in.size < 12 || memcmp(in.at, "HTTP/1.1 101", 12)) WRONG(c, in, "no WebSocket");
    speaks->arrived(c, (text){in.at, 0});
    return (size_t)(end + 4 - in.at);
}

static size_t take_frame(connection *c, text in) {
    const uint8_t *at = (const uint8_t *)in.at;
    if (in.size < 2) return 0;
    size_t size = at[1], head = 2;
    if (size == 126) {
        if (in.size < 4) return 0;
        size = (size_t)at[2] << 8 | at[3], head = 4;
    } else if (size == 127) {
        if (in.size < 10) return 0;
        size = 0, head = 10;
        for (int i = 2; i < 10; i++) size = size << 8 | at[i];
    } else if (size > 127) die("%s: a masked frame of the server", c->user);
    if (size > INPUT_BYTES / 2) die("%s: a frame of %zu bytes", c->user, size);
    if (in.size < head + size) return 0;
    text payload = {in.at + head, size};
    if (at[0] == (0x80 | TEXT) && size) speaks->arrived(c, payload);
    else if (at[0] == (0x80 | PING)) frame(c, PONG, payload.at, size);
    else if (at[0] == (0x80 | CLOSE))
        die("%s: closed with %d: %.*s", c->user, size > 1 ? (uint8_t)payload.at[0] << 8 | (uint8_t)payload.at[1] : 1005,
            size > 2 ? (int)size - 2 : 0, payload.at + 2);
    else if (at[0] != (0x80 | PONG)) die("%s: a frame that begins with %02x", c->user, at[0]);
    return head + size;
}

static void receive(connection *c) {
    if (c->rest.size) memcpy(input, c->rest.at, c->rest.size);
    ssize_t more = recv(c->fd, input + c->rest.size, INPUT_BYTES - c->rest.size, 0);
    if (more < 0 && errno == EAGAIN) return;
    if (more <= 0) die("%s: lost: %s", c->user, more ? strerror(errno) : "end of file");
    text in = {input, c->rest.size + (size_t)more};
    for (size_t taken = 1; taken && in.size; in.at += taken, in.size -= taken)
        taken = c->state == UPGRADING ? take_upgrade(c, in) : take_frame(c, in);
    c->rest.size = 0;
    if (in.size) memcpy(room(&c->rest, in.size), in.at, in.size), c->rest.size = in.size;
}

/* Returns whether a command may wait. */
static bool turn(int wait_ms) {
    static struct epoll_event ready[1024];
    bool asked = false;
    int count = epoll_wait(poller, ready, 1024, wait_ms);
    now = clock_s();
    for (int i = 0; i < count; i++) {
        if (ready[i].data.ptr) receive(ready[i].data.ptr);
        else asked = true;
    }
    flush();
    return asked;
}

static void settle(double seconds) {
    for (double end = clock_s() + seconds; clock_s() < end;) turn(1);
}

static void watch(int fd, void *of) {
    struct epoll_event event = {EPOLLIN, {.ptr = of}};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static void dial(connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(c->fd, c);
    c->state = UPGRADING, connecting++;
    c->out.size += (size_t)sprintf(
        room(&c->out, 512), "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
        speaks->path, port, speaks->subprotocol);
    touch(c);
    flush();
}

static void start_wire(const protocol *spoken, int to_port, FILE *names) {
    speaks = spoken, port = to_port;
    for (; users < USERS_MAX && fscanf(names, "%ms %ms", &all[users].user, &all[users].token) == 2; users++) {}
    input = malloc(INPUT_BYTES);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!input || poller < 0 || getrandom(&random_state, sizeof random_state, 0) < 0) die("it does not start");
    random_state |= 1;
}

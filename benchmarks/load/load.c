/* The load: users with a WebSocket each, in one process that costs little, so that on two cores the server
 * has one to itself. It speaks to `pysignal serve`, and socket.io to the relay beside it, in the same way:
 * in each turn it reads whatever has come on all connections, then sends what follows from it, with one send
 * a connection. To us the requests of a turn go in one frame, as our client does; socket.io has a frame for
 * each. Frames are masked. Nothing is parsed that need not be, but every cycle is checked: the right
 * invitation, the right peer, every answer and event there, and none twice.
 *
 *   cc -O3 -o load load.c && ./load pysignal|socketio PORT USERS
 *
 * USERS is a file with a line for each connection: a user ID, a space, a token. Then it takes commands, a
 * line each, and answers each by one line of JSON; while it waits, it keeps its connections alive.
 *
 *   connect COUNT             log so many more users in
 *   cycles PAIRS DEPTH COUNT  life cycles in all, DEPTH at once between each of the first PAIRS pairs
 *   class COUNT               the first user, who is alone yet, makes COUNT users a group
 *   ring COUNT                the first user invites the next COUNT of the group; everybody hears it
 *   answer COUNT WAVE         so many of those accept, WAVE at a time; the next when all have heard of them
 *
 * It ends with its input. Whatever goes wrong is said on stderr, and ends it with 1.
 */
#include "wire.h"

#define PAIRS_MAX 1000
#define DEPTH_MAX 64
#define CONNECTING_MAX 50
#define DATA_BYTES 64
#define STALLED_S 60.0
#define STRAY_S 0.05          /* what comes twice has come by then */
#define ACK_S 1.0             /* our client says how far it has come after so long, or so many events */
#define ACK_EVENTS 128
#define WITNESS_EVERY 100     /* users in a class; one of so many reads all, the others count */

enum { ASKED = 1, RUNG = 2, ANSWERED = 4, TOLD = 8, ALL = 15 };

typedef struct {                      /* one of DEPTH that a pair has in flight */
    uint64_t cycle, asked, answered;  /* its number, those of its two requests */
    uint32_t seen, id_size;
    char id[64];
} call;

static call calls[PAIRS_MAX][DEPTH_MAX];
static struct { uint64_t wanted, begun, finished; uint32_t pairs, depth; } run;
static struct { const char *needle; char id[64]; uint32_t id_size; uint64_t heard, results; } class;

/* -- texts in -------------------------------------------------------------------------------------------- */

static bool is(text value, const char *what) {
    return value.size == strlen(what) && !memcmp(value.at, what, value.size);
}

/* What follows a key, without its quotes; a list or an object is given up to its first comma. */
static text value(text in, const char *key) {
    const char *end = in.at + in.size, *at = find(in, key);
    if (!at) return (text){NULL, 0};
    at += strlen(key);
    while (at < end && *at == ' ') at++;
    if (at < end && *at == '"') {
        const char *quote = memchr(at + 1, '"', (size_t)(end - at - 1));
        return (text){at + 1, quote ? (size_t)(quote - at - 1) : 0};
    }
    const char *from = at;
    while (at < end && *at != ',' && *at != '}' && *at != ']') at++;
    return (text){from, (size_t)(at - from)};
}

static uint64_t number(text of) { return of.at ? strtoull(of.at, NULL, 10) : UINT64_MAX; }

static void each_object(connection *c, text in, void (*take)(connection *, text)) {
    if (in.size && *in.at == '{') { take(c, in); return; }
    const char *start = in.at, *end = in.at + in.size;
    int depth = 0;
    for (const char *at = in.at; at < end; at++) {
        if (*at == '"') {
            for (at++; at < end && *at != '"'; at++) at += *at == '\\';
        } else if (*at == '{') {
            if (!depth++) start = at;
        } else if (*at == '}' && !--depth) take(c, (text){start, (size_t)(at + 1 - start)});
    }
}

static uint32_t count(text in, const char *what) {
    uint32_t found = 0;
    for (const char *at; (at = find(in, what)); found++) {
        at += strlen(what);
        in = (text){at, (size_t)(in.at + in.size - at)};
    }
    return found;
}

/* -- life cycles ----------------------------------------------------------------------------------------- */

static connection *peer_of(connection *c) { return &all[(c - all) ^ 1]; }
static call *calls_of(connection *c) { return calls[(c - all) / 2]; }
static bool is_inviter(connection *c) { return !((c - all) & 1); }

static void data_of(connection *c, uint32_t slot, char *data) {
    int size = sprintf(data, "%05u-%02u-%010llu ", (unsigned)((c - all) / 2), slot,
                       (unsigned long long)calls_of(c)[slot].cycle);
    memset(data + size, 'x', (size_t)(DATA_BYTES - size)), data[DATA_BYTES] = 0;
}

static void ask(connection *c, uint32_t slot) {
    char data[DATA_BYTES + 1];
    call *k = &calls_of(c)[slot];
    *k = (call){.cycle = run.begun++, .asked = c->next_id++};
    c->slot_of[k->asked % IDS] = (uint8_t)slot;
    data_of(c, slot, data);
    if (speaks->batches)
        say(c, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"invite\",\"params\":{\"invitee\":\"%s\",\"data\":\"%s\"}}",
            (unsigned long long)k->asked, peer_of(c)->user, data);
    else
        say(c, "42%llu[\"invite\",{\"to\":\"%s\",\"from\":\"%s\",\"invite_id\":\"%.19s\",\"data\":\"%s\"}]",
            (unsigned long long)k->asked, peer_of(c)->user, c->user, data, data);
}

static void answer(connection *c, uint32_t slot) {
    char data[DATA_BYTES + 1];
    call *k = &calls_of(c)[slot];
    k->answered = c->next_id++;
    c->slot_of[k->answered % IDS] = (uint8_t)slot;
    data_of(c, slot, data);
    if (speaks->batches)
        say(c, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"accept\",\"params\":{\"invite_id\":\"%.*s\",\"data\":\"%s\"}}",
            (unsigned long long)k->answered, (int)k->id_size, k->id, data);
    else
        say(c, "42%llu[\"accept\",{\"to\":\"%s\",\"from\":\"%s\",\"invite_id\":\"%.*s\",\"data\":\"%s\"}]",
            (unsigned long long)k->answered, peer_of(c)->user, c->user, (int)k->id_size, k->id, data);
}

/* Both hear the ID first where they do: the inviter by its answer, the invitee by the event. */
static void note_id(connection *c, text m, call *k, text id) {
    if (!id.at || !id.size || id.size > sizeof k->id) WRONG(c, m, "no invite_id");
    if (!k->id_size) memcpy(k->id, id.at, id.size), k->id_size = (uint32_t)id.size;
    else if (k->id_size != id.size || memcmp(k->id, id.at, id.size)) WRONG(c, m, "another invite_id");
}

static void seen(connection *c, text m, uint32_t slot, uint32_t what) {
    call *k = &calls_of(c)[slot];
    if (k->seen & what) WRONG(c, m, "it came twice");
    if ((k->seen |= what) != ALL) return;
    run.finished++;
    if (run.begun < run.wanted) ask(&all[(c - all) & ~1], slot);
}

static void hear_result(connection *c, text m, uint64_t id, text invite_id) {
    uint32_t slot = c->slot_of[id % IDS];
    call *k = &calls_of(c)[slot];
    if ((is_inviter(c) ? k->asked : k->answered) != id) WRONG(c, m, "nobody asked");
    if (is_inviter(c)) note_id(c, m, k, invite_id);
    seen(c, m, slot, is_inviter(c) ? ASKED : ANSWERED);
}

static void hear_event(connection *c, text m, bool is_opening, text who, text invite_id) {
    unsigned pair, slot;
    unsigned long long cycle;
    text data = value(m, "\"data\":");
    if (data.size != DATA_BYTES || sscanf(data.at, "%5u-%2u-%10llu", &pair, &slot, &cycle) != 3)
        WRONG(c, m, "data of nobody");
    if (pair != (c - all) / 2 || slot >= run.depth || calls[pair][slot].cycle != cycle)
        WRONG(c, m, "data of another call");
    if (is_opening == is_inviter(c)) WRONG(c, m, "told to the wrong side");
    if (!is(who, peer_of(c)->user)) WRONG(c, m, "the wrong peer");
    note_id(c, m, &calls[pair][slot], invite_id);
    seen(c, m, slot, is_opening ? RUNG : TOLD);
    if (is_opening) answer(c, slot);
}

/* -- pysignal -------------------------------------------------------------------------------------------- */

static void hear_class_event(connection *c, text m) {
    text id = value(m, "\"invite_id\":");
    uint32_t seq = (uint32_t)number(value(m, "\"seq\":"));
    if (!find(m, class.needle)) WRONG(c, m, "an event of another kind");
    bool is_other = id.size != class.id_size || memcmp(id.at, class.id, id.size);
    if (class.id_size && is_other) WRONG(c, m, "another invite_id");
    if (c->reads_all && (seq <= c->seq || seq > c->seq + 1 + c->answers)) WRONG(c, m, "out of order, or one left out");
    c->seq = seq;
    c->heard++, class.heard++;
}

static void hear_class_result(connection *c, text m) {
    if (!c->awaits) WRONG(c, m, "nobody asked");
    text id = value(m, "\"invite_id\":");
    if (id.at) memcpy(class.id, id.at, id.size), class.id_size = (uint32_t)id.size;
    c->awaits = false;
    class.results++;
}

static void pysignal_message(connection *c, text m) {
    text method = value(m, "\"method\":");
    if (method.at) {
        if (is(method, "group_event")) return;
        if (!is(method, "event")) WRONG(c, m, "an unexpected notification");
        c->untold++;
        if (class.needle) { hear_class_event(c, m); return; }
        text kind = value(m, "\"kind\":");
        bool is_opening = is(kind, "opened");
        if (!is_opening && !is(kind, "accepted")) WRONG(c, m, "an unexpected event");
        text who = value(m, is_opening ? "\"inviter\":" : "\"actor\":");
        hear_event(c, m, is_opening, who, value(m, "\"invite_id\":"));
        return;
    }
    text id = value(m, "\"id\":");
    if (!id.at || find(m, "\"error\":") || !find(m, "\"result\":")) WRONG(c, m, "refused");
    if (c->state == LOGGING_IN) {
        if (number(id) || !find(m, "\"recovered\":false")) WRONG(c, m, "an unexpected login");
        c->state = ONLINE, c->acked = now, c->next_id = 1, online++, connecting--;
    } else if (class.needle) hear_class_result(c, m);
    else hear_result(c, m, number(id), value(m, "\"invite_id\":"));
}

static void acknowledge(connection *c, text in) {
    static const char key[] = "\"cursor\":";
    for (const char *at = in.at + in.size; (at = memrchr(in.at, 'u', (size_t)(at - in.at)));) {
        if (at - 2 < in.at || memcmp(at - 2, key, sizeof key - 1)) continue;
        text cursor = value((text){at - 2, (size_t)(in.at + in.size - at + 2)}, key);
        c->acked = now, c->untold = 0;
        say(c, "{\"jsonrpc\":\"2.0\",\"method\":\"ack\",\"params\":{\"cursor\":\"%.*s\"}}", (int)cursor.size, cursor.at);
        return;
    }
}

static void pysignal_arrived(connection *c, text in) {
    if (c->state == UPGRADING) {
        c->state = LOGGING_IN;
        say(c, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"login\",\"params\":{\"user_id\":\"%s\",\"token\":\"%s\","
            "\"client\":\"%016llx\",\"device_id\":\"1\",\"start\":\"cold\"}}",
            c->user, c->token, (unsigned long long)random_bits());
        return;
    }
    if (!class.needle || c->awaits || c->reads_all) each_object(c, in, pysignal_message);
    else {
        uint32_t found = count(in, class.needle);
        if (found != count(in, "\"method\":")) WRONG(c, in, "an event of another kind");
        c->heard += found, class.heard += found, c->untold += found;
    }
    if (c->untold >= ACK_EVENTS || (c->untold && now - c->acked >= ACK_S)) acknowledge(c, in);
}

/* -- socket.io ------------------------------------------------------------------------------------------- */

static void socketio_arrived(connection *c, text in) {
    if (c->state == UPGRADING) { c->state = GREETING; return; }
    char *after;
    if (c->state == GREETING) {
        if (*in.at != '0') WRONG(c, in, "no handshake");
        c->state = LOGGING_IN;
        say(c, "40{\"user\":\"%s\"}", c->user);
    } else if (*in.at == '2') say(c, "3");
    else if (c->state == LOGGING_IN) {
        if (in.size < 2 || memcmp(in.at, "40", 2)) WRONG(c, in, "not connected");
        c->state = ONLINE, c->next_id = 1, online++, connecting--;
    } else if (in.size > 4 && !memcmp(in.at, "42[", 3)) {
        bool is_opening = !memcmp(in.at + 3, "\"invite\"", 8);
        if (!is_opening && memcmp(in.at + 3, "\"accept\"", 8)) WRONG(c, in, "an unexpected event");
        hear_event(c, in, is_opening, value(in, "\"from\":"), value(in, "\"invite_id\":"));
    } else if (in.size > 4 && !memcmp(in.at, "43", 2)) {
        uint64_t id = strtoull(in.at + 2, &after, 10);
        if (*after != '[') WRONG(c, in, "no acknowledgement");
        char made[DATA_BYTES + 1];
        data_of(c, c->slot_of[id % IDS], made);
        hear_result(c, in, id, (text){made, 19});
    } else WRONG(c, in, "not understood");
}

/* -- commands -------------------------------------------------------------------------------------------- */

/* Takes turns while something is still to come. */
#define UNTIL(done, what) \
    for (double last_ = clock_s(), seen_ = -1; !(done); turn(1000)) { \
        double moved_ = (double)(online + run.finished + class.heard + class.results); \
        if (moved_ != seen_) seen_ = moved_, last_ = clock_s(); \
        else if (clock_s() - last_ > STALLED_S) die("nothing comes any more: %s", what); \
    }

static void connect_users(uint32_t wanted) {
    if (online + wanted > users) die("there are %u users", users);
    class.needle = NULL;
    for (uint32_t end = online + wanted, next = online; next < end; next++) {
        UNTIL(connecting < CONNECTING_MAX, "logins")
        dial(&all[next]);
    }
    UNTIL(!connecting, "logins")
    printf("{\"online\": %u}\n", online);
}

static void cycles(uint32_t pairs, uint32_t depth, uint64_t wanted) {
    if (2 * pairs > online || pairs > PAIRS_MAX || depth > DEPTH_MAX) die("too many pairs, or too deep");
    class.needle = NULL;
    run.pairs = pairs, run.depth = depth, run.begun = run.finished = 0, run.wanted = wanted;
    double start = clock_s();
    for (uint32_t pair = 0; pair < pairs; pair++)
        for (uint32_t slot = 0; slot < depth && run.begun < wanted; slot++) ask(&all[2 * pair], slot);
    flush();
    UNTIL(run.finished == wanted, "life cycles")
    double seconds = clock_s() - start;
    settle(STRAY_S);
    printf("{\"cycles\": %llu, \"seconds\": %.6f}\n", (unsigned long long)run.finished, seconds);
}

static void begin_class(const char *needle) {
    class.needle = needle, class.heard = class.results = 0;
    for (uint32_t i = 0; i < online; i++) all[i].heard = all[i].answers = 0, all[i].reads_all = i % WITNESS_EVERY == 0;
}

static char *names_of(uint32_t first, uint32_t end) {
    static buffer list;
    list.size = 0;
    for (uint32_t i = first; i < end; i++)
        list.size += (size_t)sprintf(room(&list, 200), "%s\"%.128s\"", i > first ? "," : "", all[i].user);
    return list.at;
}

static void create_class(uint32_t members) {
    if (!speaks->batches || members < 2 || members > users || online != 1)
        die("a class of pysignal, with so many in it, and the first alone online");
    begin_class("no event");
    all[0].awaits = true;
    say(&all[0], "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"create_group\",\"params\":{\"group_type\":\"Community\","
        "\"group_id\":\"class\",\"member_list\":[%s]}}", (unsigned long long)all[0].next_id++, names_of(1, members));
    flush();
    UNTIL(class.results == 1, "the class")
    printf("{\"members\": %u}\n", members);
}

static void ring(uint32_t invited) {
    if (!speaks->batches || !invited || invited >= online) die("a class of pysignal, with so many in it");
    begin_class("\"kind\":\"opened\"");
    for (uint32_t i = 0; i < online; i++) all[i].seq = i == 0;
    class.id_size = 0, all[0].awaits = true;         /* its answer may come last; its own event it doesn't hear */
    say(&all[0], "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"invite_in_group\",\"params\":{\"group_id\":\"class\","
        "\"invitee_list\":[%s],\"timeout\":3600}}", (unsigned long long)all[0].next_id++, names_of(1, invited + 1));
    flush();
    UNTIL(class.results == 1 && class.heard >= online - 1, "the opening")
    settle(STRAY_S);
    if (class.heard != online - 1 || all[0].heard) die("the opening was heard %llu times", (unsigned long long)class.heard);
    printf("{\"heard\": %llu}\n", (unsigned long long)class.heard);
}

static void answer_all(uint32_t wanted, uint32_t wave) {
    char data[DATA_BYTES + 1] = {0};
    memset(data, 'x', DATA_BYTES);
    begin_class("\"kind\":\"accepted\"");
    double start = clock_s();
    for (uint32_t done = 0; done < wanted;) {
        for (uint32_t end = done + wave; done < end && done < wanted; done++) {
            connection *c = &all[done + 1];
            c->awaits = true, c->answers = 1;
            say(c, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"accept\",\"params\":{\"invite_id\":\"%.*s\",\"data\":\"%s\"}}",
                (unsigned long long)c->next_id++, (int)class.id_size, class.id, data);
        }
        flush();
        UNTIL(class.results == done && class.heard >= (uint64_t)done * (online - 1), "the answers")
    }
    double seconds = clock_s() - start;
    settle(STRAY_S);
    for (uint32_t i = 0; i < online; i++)
        if (all[i].heard != wanted - all[i].answers) die("%s heard %u answers", all[i].user, all[i].heard);
    printf("{\"events\": %llu, \"seconds\": %.6f}\n", (unsigned long long)class.heard, seconds);
}

static void obey(void) {
    char line[256], name[32];
    unsigned long long value[3] = {0};
    if (!fgets(line, sizeof line, stdin)) exit(0);
    if (sscanf(line, "%31s %llu %llu %llu", name, &value[0], &value[1], &value[2]) < 2) die("a command: %s", line);
    if (!strcmp(name, "connect")) connect_users((uint32_t)value[0]);
    else if (!strcmp(name, "cycles")) cycles((uint32_t)value[0], (uint32_t)value[1], value[2]);
    else if (!strcmp(name, "class")) create_class((uint32_t)value[0]);
    else if (!strcmp(name, "ring")) ring((uint32_t)value[0]);
    else if (!strcmp(name, "answer")) answer_all((uint32_t)value[0], (uint32_t)value[1]);
    else die("no such command: %s", line);
    fflush(stdout);
}

static const protocol PYSIGNAL = {pysignal_arrived, true, "/signaling", "Sec-WebSocket-Protocol: pysignal.v1\r\n"};
static const protocol SOCKETIO = {socketio_arrived, false, "/socket.io/?EIO=4&transport=websocket", ""};

int main(int argc, char **argv) {
    FILE *names = argc == 4 ? fopen(argv[3], "r") : NULL;
    if (!names) die("load pysignal|socketio PORT USERS");
    start_wire(strcmp(argv[1], "socketio") ? &PYSIGNAL : &SOCKETIO, atoi(argv[2]), names);
    fclose(names);
    setvbuf(stdin, NULL, _IONBF, 0);
    watch(0, NULL);
    for (;;)
        if (turn(1000)) obey();
}

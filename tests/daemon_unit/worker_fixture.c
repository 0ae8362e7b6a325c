/* worker_fixture.c - see worker_fixture.h */
#include "tests/daemon_unit/worker_fixture.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/clock.h"
#include "tests/link.h"
#include "tests/process.h"

#define PATIENCE (30 * NS_PER_S)

struct pool_config pool;
struct cgroup cgroup;
const char *scratch_home;
bool (*worker_prepare)(void);
pid_t worker;
int control;
struct got got;

static struct link_broker broker;
static struct board *board;
static int broker_bell;

static void
worker_process(const struct link_fds *fds, int control_end)
{
	static struct worker w;
	struct link_shared *shared;

	w.pool = &pool;
	w.control = control_end;
	w.cgroup = &cgroup;
	w.scratch_home = scratch_home;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	if ((worker_prepare != NULL && !worker_prepare()) || link_map(fds->memfd, &shared) < 0 ||
	    link_worker_attach(&w.link, shared, board, fds, broker_bell) < 0)
		_exit(99);
	recycle_open(&w.recycle, &pool);
	run_open(&w);
	int status = pool.executor->run(&w);
	link_worker_detach(&w.link);
	_exit(status);
}

void
start_worker(const char *executor, unsigned concurrency)
{
	struct link_fds fds;
	int pair[2];

	memset(&got, 0, sizeof(got));
	pool.executor = executor_by_name(executor);
	pool.concurrency = concurrency;
	pool.grace_ns = 200 * NS_PER_MS;
	pool.output_cap = sizeof(got.out) - 1;
	snprintf(pool.name, sizeof(pool.name), "test");
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	cr_assert_neq(board, MAP_FAILED);
	cr_assert_eq(link_create(LINK_RING, test_directory(), &fds), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	broker_bell = bell_create();
	cr_assert_eq(link_broker_attach(&broker, &fds), 0);
	worker = fork();
	if (worker == 0) {
		close(pair[0]);
		worker_process(&fds, pair[1]);
	}
	close(pair[1]);
	close(fds.memfd);
	control = pair[0];
}

void
stop_worker(void)
{
	int status;

	close(control);
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "worker status %x", status);
	link_broker_detach(&broker);
}

static int
send_packed(struct run_body *run, const void *args, uint32_t length)
{
	memset(&got, 0, sizeof(got));
	run->id = run->id == 0 ? 7 : run->id;
	run->attempt = 1;
	int index = link_send_run(&broker, run, args, length, NULL, 0);
	cr_assert_geq(index, 0);
	link_wake(&broker);
	return index;
}

int
send_kind(const char *kind, struct run_body run, const int64_t *words, unsigned count)
{
	unsigned index;

	cr_assert_not_null(kind_by_name(kind, &index));
	run.kind = (uint16_t)index;
	return send_packed(&run, words, count * 8);
}

/* Arguments as args.h packs a list. */
int
send_shell(const char *script, struct run_body run)
{
	const char *const argv[] = { "sh", "-c", script };
	static _Alignas(8) unsigned char args[4096];
	uint32_t length = sizeof(uint64_t);
	unsigned index;

	for (int i = 0; i < 3; i++) {
		strcpy((char *)args + length, argv[i]);
		length += (uint32_t)strlen(argv[i]) + 1;
	}
	uint64_t word = (uint64_t)sizeof(uint64_t) << 32 | 3;
	memcpy(args, &word, sizeof(word));
	cr_assert_not_null(kind_by_name("exec", &index));
	run.kind = (uint16_t)index;
	return send_packed(&run, args, length);
}

static void
take(const struct ring_record *record)
{
	const struct output_body *o = (const void *)record->body;
	const struct result_body *r = (const void *)record->body;
	size_t have = strlen(got.out);
	uint32_t n;

	switch (record->type) {
	case MSG_RUN_OUTPUT:
		n = record->length - (uint32_t)sizeof(*o);
		cr_assert(have + n < sizeof(got.out));
		memcpy(got.out + have, o + 1, n);
		break;
	case MSG_RUN_LEFT:
		got.lefts++;
		got.left = *(const struct left_body *)(const void *)record->body;
		break;
	case MSG_RESULT:
		got.result = *r;
		memcpy(got.message, (const char *)(r + 1) + r->outcome.result_length,
		       r->outcome.message_length);
		link_free_ticket(&broker, ticket_index(r->ticket));
		break;
	default:
		cr_assert(false, "record of type %u", record->type);
	}
}

void
receive(void)
{
	uint64_t end = clock_now() + PATIENCE;

	while (got.result.ticket == 0) {
		cr_assert_lt(clock_now(), end, "no answer");
		wake_arm(&board->broker);
		if (!link_has_result(&broker)) {
			struct pollfd p = { .fd = broker_bell, .events = POLLIN };
			poll(&p, 1, 100);
			bell_clear(broker_bell);
		}
		wake_disarm(&board->broker);
		const struct ring_record *record;
		while ((record = link_result(&broker)) != NULL) {
			take(record);
			link_result_release(&broker, record);
		}
		link_drained(&broker);
	}
}

void
run_kind(const char *kind, struct run_body run, const int64_t *words, unsigned count)
{
	send_kind(kind, run, words, count);
	receive();
}

void
run_shell(const char *script, struct run_body run)
{
	send_shell(script, run);
	receive();
}

void
wait_claimed(int index)
{
	cr_assert(
		wait_until(30000, ticket_state(&broker.shared->tickets[index]) >= TICKET_CLAIMED));
}

bool
control_says(unsigned type)
{
	static struct frame_in in;
	const char *why = "";

	if (poll(&(struct pollfd){ .fd = control, .events = POLLIN }, 1, 0) != 1 ||
	    frame_recv(control, &in, &why) < 0)
		return false;
	frame_close_fds(&in);
	return in.type == type;
}

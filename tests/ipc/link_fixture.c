/* link_fixture.c - see link_fixture.h */
#include "tests/ipc/link_fixture.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/link.h"
#include "tests/process.h"

struct link_broker broker;
struct link_worker worker;
struct board *board;
static struct link_shared *base;
static struct link_fds fds;
static int broker_bell;

static struct link_fds
copy_fds(void)
{
	struct link_fds own = LINK_NO_FDS;

	own.memfd = fds.memfd;
	own.bell = fcntl(fds.bell, F_DUPFD_CLOEXEC, 3);
	for (int i = 0; i < 2; i++) {
		own.broker[i] = fds.broker[i] < 0 ? -1 : fcntl(fds.broker[i], F_DUPFD_CLOEXEC, 3);
		own.worker[i] = fds.worker[i] < 0 ? -1 : fcntl(fds.worker[i], F_DUPFD_CLOEXEC, 3);
	}
	return own;
}

bool
attach_broker(struct link_broker *l)
{
	struct link_fds own = copy_fds();

	for (int i = 0; i < 2; i++)
		if (own.worker[i] >= 0)
			close(own.worker[i]);
	return link_broker_attach(l, &own) == 0;
}

bool
attach_worker(struct link_worker *l)
{
	struct link_fds own = copy_fds();

	for (int i = 0; i < 2; i++)
		if (own.broker[i] >= 0)
			close(own.broker[i]);
	close(own.bell);
	own.bell = fds.bell;
	return link_worker_attach(l, base, board, &own, broker_bell) == 0;
}

static void
make(void)
{
	enum link_way way;

	cr_assert(link_way_by_name(test_link(), &way), "no link %s", test_link());
	cr_assert_eq(link_create(way, test_directory(), &fds), 0);
	cr_assert_eq(link_map(fds.memfd, &base), 0);
}

static void
unmake(void)
{
	if (broker.shared != NULL)
		link_broker_detach(&broker);
	if (worker.shared != NULL) /* its last words have nobody to wait for */
		link_worker_detach(&worker);
	worker = (struct link_worker){ 0 };
	link_unmap(base);
	link_discard(&fds);
}

void
fixture_begin_apart(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	cr_assert_neq((void *)board, MAP_FAILED);
	broker_bell = bell_create();
	make();
}

void
fixture_begin(void)
{
	fixture_begin_apart();
	cr_assert(attach_broker(&broker));
}

void
fixture_end(void)
{
	unmake();
	munmap(board, sizeof(*board));
	close(broker_bell);
}

void
fixture_renew(void)
{
	unmake();
	make();
	cr_assert(attach_broker(&broker));
}

bool
link_loses(void)
{
	return link_rows[base->way].loses;
}

/* ---- jobs ---- */

int
send_job(uint64_t id)
{
	struct run_body body = { .id = id, .timeout_ns = 5 };
	return link_send_run(&broker, &body, "args", 4, NULL, 0);
}

int
send_job_soon(uint64_t id)
{
	int t = -1;

	cr_assert(wait_until(PATIENCE_MS, (t = send_job(id)) >= 0), "no room for job %lu", id);
	return t;
}

const struct ring_record *
next_request(struct link_worker *w)
{
	const struct ring_record *record = NULL;

	cr_assert(wait_until(PATIENCE_MS, (record = link_next(w)) != NULL), "no request came");
	return record;
}

void
finish(struct link_worker *w, const struct ring_record *record)
{
	struct result_body result = { .ticket = run_of(record)->ticket };
	uint64_t id = run_of(record)->id;
	result.outcome.result_length = sizeof(id);
	link_finish(w, &result, &id, NULL);
}

uint64_t
take_result(void)
{
	const struct ring_record *record = link_result(&broker);
	if (record == NULL)
		return 0;
	struct result_body result;
	uint64_t id;
	memcpy(&result, record->body, sizeof(result));
	memcpy(&id, record->body + sizeof(result), sizeof(id));
	link_result_release(&broker, record);
	cr_assert(link_ticket_is(&broker, result.ticket), "a result of an old use of its ticket");
	link_free_ticket(&broker, ticket_index(result.ticket));
	return id;
}

uint64_t
next_result(void)
{
	uint64_t id = 0;

	cr_assert(wait_until(PATIENCE_MS, (id = take_result()) != 0), "no result came");
	return id;
}

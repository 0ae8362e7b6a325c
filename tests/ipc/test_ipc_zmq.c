/* test_ipc_zmq.c - ZeroMQ by dlopen: messages, peers, and a listener that outlives who serves it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/zmq.h"
#include "tests/process.h"

TestSuite(zmq, .timeout = 600);

#define PATIENCE_MS 120000

static char path[64];
static int listener = -1;

static void
setup(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(path, sizeof(path), "/tmp/pyprep-test-zmq-%d.sock", (int)getpid());
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	unlink(path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 16) < 0)
		abort();
}

static void
teardown(void)
{
	close(listener);
	unlink(path);
}

static int
send_text(struct zmq_end *e, const char *text)
{
	struct iovec part = { (void *)(uintptr_t)text, strlen(text) };
	return zmq_end_send(e, &part, 1);
}

/* Serve `count` messages of the ROUTER: each goes back with "ok " before it. */
static int
serve(struct zmq_end *router, int count)
{
	struct zmq_message m;
	char answer[64];

	for (int i = 0; i < count; i++) {
		if (zmq_end_wait(router, POLLIN, PATIENCE_MS) != 1 ||
		    zmq_end_recv(router, &m) < 0 || m.count != 2)
			return -1;
		int n = snprintf(answer, sizeof(answer), "ok %.*s", (int)m.part[1].iov_len,
				 (char *)m.part[1].iov_base);
		struct iovec parts[2] = { m.part[0], { answer, (size_t)n } };
		int r = zmq_end_send(router, parts, 2);
		zmq_message_free(&m);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A server process: answers `count` messages, then sleeps until it is killed. */
static pid_t
fork_server(int count)
{
	pid_t pid = test_fork();
	if (pid != 0)
		return pid;
	struct zmq_end *router;
	if (zmq_end_open(ZMQ_END_ROUTER, NULL, &router) < 0 ||
	    zmq_end_listen(router, path, listener) < 0 || serve(router, count) < 0)
		_exit(1);
	pause();
	_exit(0);
}

static bool
answer_is(struct zmq_end *e, const char *text)
{
	struct zmq_message m;

	if (zmq_end_wait(e, POLLIN, PATIENCE_MS) != 1 || zmq_end_recv(e, &m) < 0)
		return false;
	bool same = m.count == 1 && m.part[0].iov_len == strlen(text) &&
		    memcmp(m.part[0].iov_base, text, strlen(text)) == 0;
	zmq_message_free(&m);
	return same;
}

Test(zmq, router_answers_dealer, .init = setup, .fini = teardown)
{
	struct zmq_end *router, *dealer;
	struct zmq_message m;

	cr_assert_eq(zmq_end_open(ZMQ_END_ROUTER, NULL, &router), 0, "%s", zmq_problem());
	cr_assert_eq(zmq_end_open(ZMQ_END_DEALER, NULL, &dealer), 0);
	cr_assert_eq(zmq_end_listen(router, path, listener), 0);
	cr_assert_eq(zmq_end_connect(dealer, path), 0);
	cr_assert_eq(zmq_end_recv(dealer, &m), -EAGAIN);
	cr_assert_eq(send_text(dealer, "one"), 0);
	cr_assert_eq(serve(router, 1), 0);
	cr_assert(answer_is(dealer, "ok one"));
	zmq_end_close(router);
	zmq_end_close(dealer);
}

Test(zmq, the_kernel_says_who_sent_it, .init = setup, .fini = teardown)
{
	struct zmq_end *router, *dealer;
	struct zmq_message m;
	struct zmq_peer peer;

	cr_assert_eq(zmq_end_open(ZMQ_END_ROUTER, NULL, &router), 0);
	cr_assert_eq(zmq_end_open(ZMQ_END_DEALER, NULL, &dealer), 0);
	cr_assert_eq(zmq_end_listen(router, path, listener), 0);
	cr_assert_eq(zmq_end_connect(dealer, path), 0);
	cr_assert_eq(send_text(dealer, "me"), 0);
	cr_assert_eq(zmq_end_wait(router, POLLIN, PATIENCE_MS), 1);
	cr_assert_eq(zmq_end_recv(router, &m), 0);
	cr_assert_eq(zmq_message_peer(&m, &peer), 0);
	cr_assert_eq(peer.pid, getpid());
	cr_assert_eq(peer.uid, geteuid());
	zmq_message_free(&m);
	zmq_end_close(router);
	zmq_end_close(dealer);
}

Test(zmq, a_message_of_too_many_parts_is_dropped_whole, .init = setup, .fini = teardown)
{
	struct zmq_end *router, *dealer;
	struct zmq_message m;
	struct iovec parts[ZMQ_PARTS_MAX + 2];

	for (int i = 0; i < ZMQ_PARTS_MAX + 2; i++)
		parts[i] = (struct iovec){ "x", 1 };
	cr_assert_eq(zmq_end_open(ZMQ_END_ROUTER, NULL, &router), 0);
	cr_assert_eq(zmq_end_open(ZMQ_END_DEALER, NULL, &dealer), 0);
	cr_assert_eq(zmq_end_listen(router, path, listener), 0);
	cr_assert_eq(zmq_end_connect(dealer, path), 0);
	cr_assert_eq(zmq_end_send(dealer, parts, ZMQ_PARTS_MAX + 2), 0);
	cr_assert_eq(send_text(dealer, "next"), 0);
	cr_assert_eq(zmq_end_wait(router, POLLIN, PATIENCE_MS), 1);
	cr_assert_eq(zmq_end_recv(router, &m), -EMSGSIZE);
	cr_assert_eq(serve(router, 1), 0);
	cr_assert(answer_is(dealer, "ok next"));
	zmq_end_close(router);
	zmq_end_close(dealer);
}

/* The name and the queue are the listener's, not the server's. */
Test(zmq, a_killed_server_is_followed_by_another, .init = setup, .fini = teardown)
{
	struct zmq_end *dealer;

	pid_t first = fork_server(1);
	cr_assert_eq(zmq_end_open(ZMQ_END_DEALER, NULL, &dealer), 0);
	cr_assert_eq(zmq_end_connect(dealer, path), 0);
	cr_assert_eq(send_text(dealer, "one"), 0);
	cr_assert(answer_is(dealer, "ok one"));
	cr_assert_eq(kill_and_wait(first, SIGKILL), SIGKILL); /* a wait status: the signal alone */
	cr_assert_eq(access(path, F_OK), 0);
	/* With nobody serving, a second client waits in the listener's queue. */
	struct zmq_end *early;
	cr_assert_eq(zmq_end_open(ZMQ_END_DEALER, NULL, &early), 0);
	cr_assert_eq(zmq_end_connect(early, path), 0);
	cr_assert_eq(send_text(early, "two"), 0);
	pid_t second = fork_server(1);
	cr_assert(answer_is(early, "ok two"));
	kill_and_wait(second, SIGKILL);
	zmq_end_close(early);
	zmq_end_close(dealer);
}

/* A forked child makes its own context: the parent's threads are not there. */
Test(zmq, a_child_has_its_own_context, .init = setup, .fini = teardown)
{
	struct zmq_end *router;

	cr_assert_eq(zmq_end_open(ZMQ_END_ROUTER, NULL, &router), 0);
	cr_assert_eq(zmq_end_listen(router, path, listener), 0);
	pid_t pid = test_fork();
	if (pid == 0) {
		struct zmq_end *dealer;
		if (zmq_end_open(ZMQ_END_DEALER, NULL, &dealer) < 0 ||
		    zmq_end_connect(dealer, path) < 0 || send_text(dealer, "child") < 0)
			_exit(1);
		_exit(answer_is(dealer, "ok child") ? 0 : 2);
	}
	cr_assert_eq(serve(router, 1), 0);
	cr_assert_eq(wait_exit(pid, PATIENCE_MS), 0);
	zmq_end_close(router);
}

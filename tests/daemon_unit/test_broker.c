/* test_broker.c - a broker in a process of its own, with the test as its supervisor. */
#include <criterion/criterion.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/roles.h"
#include "ipc/message.h"
#include "ipc/wake.h"
#include "tests/files.h"
#include "tests/process.h"

static struct config config;
static char root[96];
static int control; /* the supervisor's end */
static pid_t broker;
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static void
setup(void)
{
	int pair[2];
	struct birth birth = { .config = &config, .state_dir = root, .lane_listener = -1 };

	test_dir_make(root, sizeof(root));
	config_default(&config);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", root);
	birth.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(birth.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(birth.listener, 8), 0);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	birth.board = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	birth.broker_bell = bell_create();
	birth.counters_memfd = -1;
	birth.control = pair[1];
	control = pair[0];
	broker = test_fork();
	if (broker == 0) {
		close(pair[0]);
		_exit(broker_main(&birth));
	}
	close(pair[1]);
}

static void
teardown(void)
{
	close(control); /* the order to end */
	cr_expect_eq(wait_exit(broker, 20000), 0);
	test_dir_remove(root);
}

TestSuite(broker, .init = setup, .fini = teardown, .timeout = 600);

static bool
has_frame(int fd, int ms)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, ms) == 1;
}

Test(broker, serves_nobody_before_it_knows_of_all_pools)
{
	static struct frame_in in;
	struct hello_body hello = { .version = PROTOCOL_VERSION };
	struct pool_body paused = { .pool = 0, .workers = 2, .state = POOL_PAUSED };
	struct manager_body manager = { .state = MANAGER_OFF };
	const char *why = "";
	int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	cr_assert(has_frame(control, 20000));
	cr_assert_eq(frame_recv(control, &in, &why), 0);
	cr_assert_eq(in.type, MSG_READY);
	cr_assert_eq(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(frame_send(client, MSG_HELLO, &hello, NULL, 0, NULL, 0), 0);
	cr_expect_not(has_frame(client, 200), "served without knowing anything");
	cr_assert_eq(frame_send(control, MSG_POOL, &paused, NULL, 0, NULL, 0), 0);
	cr_expect_not(has_frame(client, 200), "served without knowing the workers");
	cr_assert_eq(frame_send(control, MSG_MANAGER, &manager, NULL, 0, NULL, 0), 0);
	cr_assert(has_frame(client, 20000), "never served");
	cr_assert_eq(frame_recv(client, &in, &why), 0);
	cr_expect_eq(in.type, MSG_WELCOME);
	close(client);
}

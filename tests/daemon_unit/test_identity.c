/* test_identity.c - who a peer is, and what they may do.  The peers are real processes of other
 * users that connect to a socket; that needs root. */
#include <criterion/criterion.h>

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/identity.h"

#define ALICE 54321 /* has no account: her name is her number */
#define MANY  100   /* groups of somebody who has more than fit the first look */

static struct config config;

static void
setup(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root to connect as other users");
	config_default(&config);
	config.group[0] = '\0';
}

/* What a sanitizer writes at the end, it writes as the user who made its directory. */
static void
teardown(void)
{
	if (getuid() == 0 && seteuid(0) < 0)
		abort();
}

TestSuite(identity, .init = setup, .fini = teardown, .timeout = 600);

static int
listen_somewhere(struct sockaddr_un *address, socklen_t *length)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*length = sizeof(sa_family_t); /* the kernel chooses an abstract name */
	cr_assert_eq(bind(fd, (struct sockaddr *)address, *length), 0);
	*length = sizeof(*address);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)address, length), 0);
	cr_assert_eq(listen(fd, 1), 0);
	return fd;
}

/* A connection from a process with these credentials, which lives until the test ends. */
static int
connection_from(uid_t uid, gid_t gid, const gid_t *groups, size_t group_count, pid_t *ret_pid)
{
	struct sockaddr_un address;
	socklen_t length;
	int listener = listen_somewhere(&address, &length);

	pid_t pid = fork();
	if (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		char end;
		if (setgroups(group_count, groups) < 0 || setgid(gid) < 0 || setuid(uid) < 0 ||
		    connect(fd, (struct sockaddr *)&address, length) < 0)
			_exit(1);
		_exit(read(fd, &end, 1) != 0);
	}
	int fd = accept(listener, NULL, NULL);
	cr_assert_geq(fd, 0);
	close(listener);
	if (ret_pid)
		*ret_pid = pid;
	return fd;
}

static enum access
access_of(int fd)
{
	struct identity who;

	cr_assert_eq(identity_of_socket(fd, &who), 0);
	return identity_access(&config, fd, &who);
}

Test(identity, the_kernel_says_who_it_is)
{
	struct identity who;
	pid_t pid;
	int fd = connection_from(ALICE, 54322, NULL, 0, &pid);

	cr_assert_eq(identity_of_socket(fd, &who), 0);
	cr_assert_eq(who.pid, pid);
	cr_assert_eq(who.uid, (uid_t)ALICE);
	cr_assert_eq(who.gid, 54322u);
	cr_assert_eq(identity_of_socket(-1, &who), -EBADF);
}

Test(identity, groups_are_the_peers_own)
{
	gid_t groups[] = { 700, 701 };
	int fd = connection_from(ALICE, 54322, groups, 2, NULL);

	cr_assert(identity_in_group(fd, ALICE, 54322, 54322));
	cr_assert(identity_in_group(fd, ALICE, 54322, 701));
	cr_assert_not(identity_in_group(fd, ALICE, 54322, 702));
	cr_assert_not(identity_in_group(fd, ALICE, 54322, 0));
	cr_assert_not(identity_in_group(-1, ALICE, 54322, 701));
}

Test(identity, more_groups_than_fit_at_first)
{
	gid_t groups[MANY];

	for (unsigned i = 0; i < MANY; i++)
		groups[i] = 1000 + i;
	int fd = connection_from(ALICE, 54322, groups, MANY, NULL);
	cr_assert(identity_in_group(fd, ALICE, 54322, 1000 + MANY - 1));
	cr_assert_not(identity_in_group(fd, ALICE, 54322, 1000 + MANY));
}

Test(identity, names_come_from_the_accounts)
{
	cr_assert_str_eq(identity_name(0), "root");
	cr_assert_str_eq(identity_name(ALICE), "54321");
	cr_assert_str_eq(identity_name(0), "root");
	cr_assert_str_eq(identity_name(64), getpwuid(64) ? getpwuid(64)->pw_name : "64");
}

Test(identity, root_operates_and_a_stranger_gets_nothing)
{
	cr_assert_eq(access_of(connection_from(0, 0, NULL, 0, NULL)), ACCESS_OPERATE);
	cr_assert_eq(access_of(connection_from(ALICE, 54322, NULL, 0, NULL)), ACCESS_NONE);
}

Test(identity, an_operator_operates)
{
	int fd = connection_from(ALICE, 54322, NULL, 0, NULL);

	strcpy(config.operators[0], "somebody");
	strcpy(config.operators[1], "54321");
	config.operator_count = 1;
	cr_assert_eq(access_of(fd), ACCESS_NONE);
	config.operator_count = 2;
	cr_assert_eq(access_of(fd), ACCESS_OPERATE);
}

/* `daemon` (a group of every Debian) with the daemon running as another user than root. */
Test(identity, a_member_submits)
{
	const struct group *g = getgrnam("daemon");
	gid_t gid = g->gr_gid;
	int member = connection_from(ALICE, 54322, &gid, 1, NULL);
	int primary = connection_from(ALICE, gid, NULL, 0, NULL);
	int other = connection_from(ALICE, 54322, NULL, 0, NULL);
	int same = connection_from(65534, 65534, NULL, 0, NULL);
	int root = connection_from(0, 0, NULL, 0, NULL);
	struct identity alice = { .pid = 1, .uid = ALICE, .gid = 54322 };

	strcpy(config.group, "daemon");
	cr_assert_eq(seteuid(65534), 0);
	cr_assert_eq(access_of(member), ACCESS_SUBMIT);
	cr_assert_eq(access_of(primary), ACCESS_SUBMIT);
	cr_assert_eq(access_of(other), ACCESS_NONE);
	cr_assert_eq(access_of(same), ACCESS_OPERATE);
	cr_assert_eq(access_of(root), ACCESS_OPERATE);
	cr_assert(identity_may_submit(&config, &alice));
	cr_assert_not(identity_commands_only(&config, &alice));
	strcpy(config.group, "no-such-group");
	cr_assert_eq(access_of(member), ACCESS_NONE);
}

Test(identity, roots_daemon_refuses_others_unless_commands_drop_to_them)
{
	gid_t gid = getgrnam("daemon")->gr_gid;
	int member = connection_from(ALICE, 54322, &gid, 1, NULL);
	struct identity alice = { .pid = 1, .uid = ALICE, .gid = 54322 };
	struct identity root = { .pid = 1 };

	strcpy(config.group, "daemon");
	cr_assert_eq(access_of(member), ACCESS_NONE);
	cr_assert_not(identity_may_submit(&config, &alice));
	cr_assert(identity_may_submit(&config, &root));
	config.drop_to_client = true;
	cr_assert_eq(access_of(member), ACCESS_SUBMIT);
	cr_assert(identity_may_submit(&config, &alice));
	cr_assert(identity_commands_only(&config, &alice));
	cr_assert_not(identity_commands_only(&config, &root));
}

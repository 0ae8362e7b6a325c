#!/usr/bin/env bats
# ipc.bats - pyprepctl ipc: what it lists is what /proc shows, and it removes only what nobody needs.
#
# Other daemons and other tests may use /dev/shm meanwhile: names here carry the pid, and nothing
# is removed but by name.

load helpers

setup() {
	daemon_start
	MINE=ipcbats-$$
}

teardown() {
	daemon_stop
	rm -f "/dev/shm/pyprep.test.$MINE" "/dev/shm/pyprep.$MINE" "/dev/shm/$MINE"
	[ -z "${PRIVATE:-}" ] || rm -rf "$PRIVATE"
}

# rows JQ-FILTER KIND...: of ipc ls
rows() {
	local filter=$1
	shift
	pyprepctl ipc ls --json "$@" 2>/dev/null | jq -r "$filter"
}

# What is unknown, but for the files of others' tests, which have "bats" in their names.
unknown() { rows 'select(.state == "unknown") | .name' | grep -v bats || true; }

supervisor() { pyprepctl status --json | jq .supervisor.pid; }
broker() { pyprepctl status --json | jq .broker.pid; }

# until_same A B: both commands say the same; fails after 120 s
until_same() {
	local end=$((SECONDS + 120)) a b
	while :; do
		a=$($1) b=$($2)
		[ "$a" != "$b" ] || [ -z "$a" ] || return 0
		[ $SECONDS -lt $end ] || { diff <(echo "$a") <(echo "$b"); return 1; }
		sleep 0.05
	done
}

# Inode and bytes of each memfd that the supervisor and its children hold, by /proc alone; not the
# lanes, which come and go with whoever asks.
by_proc() {
	local pid
	for pid in $DAEMON $(pgrep -P "$DAEMON"); do
		while read -r range _ _ _ inode path; do
			case $path in
			/memfd:pyprep-lane*) ;;
			/memfd:*) echo "$inode $((16#${range#*-} - 16#${range%-*}))" ;;
			esac
		done </proc/$pid/maps
		for fd in /proc/$pid/fd/*; do
			case $(readlink "$fd") in
			*memfd:pyprep-lane*) ;;
			*memfd:*) stat -L -c '%i %s' "$fd" ;;
			esac
		done
	done 2>/dev/null | sort -u
}

by_ls() {
	rows 'select(.name | startswith("lane") | not) | "\(.inode) \(.bytes)"' memfd | sort -u
}

@test "ls: the memfds are those of /proc, each with its size, and none is unknown" {
	until_same by_proc by_ls
	[ "$(by_ls | wc -l)" -gt 6 ]
	[ -z "$(unknown)" ]
}

@test "ls: a link says who has it, what went through it, and how deep it was" {
	# One worker: what waits too long for one goes to another, and through both their links.
	pyprepctl pool resize cpu 1 -q
	pyprepctl submit noop --count 1000 -q >/dev/null
	run rows 'select(.name | startswith("cpu")) | [.in, .out, .depth, .depth_high]' link
	[ "$(rows 'select(.name | startswith("cpu")) | .in' link | jq -s add)" -eq 1000 ]
	[ "$(rows 'select(.name | startswith("cpu")) | .out' link | jq -s add)" -eq 1000 ]
	[ "$(rows 'select(.name | test("^cpu.*requests")) | .in' ring | jq -s add)" -eq 1000 ]
	[ "$(rows 'select(.name | test("^cpu.*results")) | .out' ring | jq -s add)" -eq 1000 ]
	[ "$(rows 'select(.name | test("^cpu.*requests") and .used_high == 0) | .name' ring)" = "" ]
	worker=$(pyprepctl status --json | jq '.pools[] | select(.name == "cpu").workers[0].pid')
	[ "$(rows 'select(.name == "cpu/0").peer.pid' link)" = "$worker" ]
	[ "$(rows 'select(.name == "cpu/0").peer.role' link)" = "worker cpu/0" ]
	[ "$(rows 'select(.name == "cpu/0 requests").attached | @csv' ring)" = "$(broker),$worker" ]
}

@test "ls: a link of each way says what went through it" {
	daemon_stop || true
	config=$(mktemp)
	for way in ring pipe queue zmq; do
		printf '[pool "%s"]\nexecutor = process\nworkers = 1\nlink = %s\n' $way $way
	done >"$config"
	daemon_start --config "$config"
	rm "$config"
	for way in ring pipe queue zmq; do
		pyprepctl submit noop --pool $way --count 100 -q >/dev/null
		[ "$(rows "select(.name == \"$way/0\") | \"\(.way) \(.in) \(.out)\"" link)" = "$way 100 100" ]
		[ "$(rows "select(.name == \"$way/0 requests\") | .in" ring pipe queue socket)" = 100 ]
		[ "$(rows "select(.name == \"$way/0 results\") | .out" ring pipe queue socket)" = 100 ]
	done
	[ "$(rows 'select(.name == "queue/0 requests") | "\(.out) \(.depth)"' queue)" = "100 0" ]
	[ "$(rows 'select(.name == "queue/0 results") | .depth_high >= 1' queue)" = true ]
	[ "$(rows 'select(.name == "pipe/0 requests") | "\(.used) \(.inode != null)"' pipe)" = "0 true" ]
	[ -z "$(unknown)" ]
}

@test "ls: each child of the supervisor has its control socket, and each listener its path" {
	pyprepctl counter add x 1 --manager >/dev/null # the manager is there
	all=$(pyprepctl ipc ls --json socket)
	for pid in $(jq -r 'select(.name | endswith("control")) | .peer.pid' <<<"$all"); do
		[ "$pid" != null ]
	done
	for pid in $(pgrep -P "$DAEMON"); do
		jq -se --argjson p "$pid" --argjson s "$DAEMON" 'any(.[];
			(.attached | index($p) and index($s)) and (.name | endswith("control")))' <<<"$all" >/dev/null ||
			{ echo "no control socket of $(cat /proc/$pid/cmdline)"; return 1; }
	done
	for path in "$PYPREP_RUNTIME_DIR"/*.sock; do
		[ "$(jq -r --arg p "$path" 'select(.path == $p) | .state' <<<"$all")" = live ]
		jq -se --arg p "$path" --argjson s "$DAEMON" \
			'any(.[]; .path == $p and (.attached | index($s) != null))' <<<"$all" >/dev/null
	done
}

@test "ls: counters with their values, locks with their holders" {
	[ -z "$(rows .name counter lock)" ]
	pyprepctl counter add apples 7 --manager >/dev/null
	pyprepctl counter add pears -- -3 >/dev/null
	[ "$(rows '"\(.name) \(.value)"' counter)" = "apples 7
pears -3" ]
	pyprepctl lock run door -- sleep 600 3>&- &
	holder=$!
	until_true pgrep -P "$holder" -x sleep # it holds, and the command runs
	[ "$(rows '"\(.name) \(.owner.pid)"' lock)" = "door $holder" ]
	pkill -TERM -P "$holder"
	wait "$holder" || true
	[ -z "$(rows .name lock)" ]
}

@test "ls: a stopped broker is said, after a while, and does not hold it up" {
	broker=$(broker)
	kill -STOP "$broker"
	status=0
	output=$(timeout 300 pyprepctl ipc ls 2>&1) || status=$?
	kill -CONT "$broker"
	[ "$status" -eq 0 ]
	grep -q "only named objects and files" <<<"$output"
}

@test "ls: what waits in a worker's link is its depth" {
	pyprepctl submit sleep ms=600000 --pool cpu --count 2 -q >/dev/null 3>&- &
	client=$!
	both_wait() { [ "$(rows 'select(.name | startswith("cpu")) | .depth' link | jq -s add)" -eq 2 ]; }
	until_true both_wait
	[ "$(rows 'select(.name == "cpu/0") | .state' link)" = live ]
	[ "$(rows "select(.peer.pid == $client) | .name" memfd | cut -d' ' -f1)" = lane ]
	kill "$client"
	wait "$client" || true
}

@test "ls: the link of a killed worker is gone, and its successor's is there" {
	before=$(rows 'select(.name == "link cpu/0").inode' memfd)
	worker=$(rows 'select(.name == "cpu/0").peer.pid' link)
	[ -n "$before" ]
	kill -KILL "$worker"
	succeeded() {
		now=$(rows 'select(.name == "cpu/0").peer.pid' link)
		[ -n "$now" ] && [ "$now" != null ] && [ "$now" != "$worker" ] &&
			[ -n "$(rows 'select(.name == "link cpu/0").inode' memfd)" ]
	}
	until_true succeeded
	[ "$(rows 'select(.name == "link cpu/0").inode' memfd)" != "$before" ]
	gone() { [ -z "$(rows "select(.inode == $before) | .name" memfd)" ]; }
	until_true gone
	# nobody of the daemon keeps it either
	kept() {
		local pid
		for pid in $DAEMON $(pgrep -P "$DAEMON"); do
			! grep " $before .*/memfd:" /proc/$pid/maps || return 0
		done
		return 1
	}
	until_true never kept
}

@test "ls --json: each line is an object of a known kind with all its keys" {
	json '.schema == "pyprep.ipc/1" and has("owner") and has("attached") and has("bytes") and
		has("in") and has("out") and has("depth") and has("used_high") and has("age_ns") and
		(.state | IN("live", "idle", "unused", "orphan", "unknown"))' ipc ls --json
	for kind in link ring memfd socket slab; do
		[ -n "$(rows .name $kind)" ] || { echo "no $kind"; return 1; }
	done
	[ "$(rows .kind ring | sort -u)" = ring ]
}

@test "ls: the slabs count the jobs there are" {
	[ "$(rows 'select(.name == "jobs") | .depth' slab)" -eq 0 ]
	pyprepctl submit sleep ms=600000 --pool io --count 5 -q >/dev/null 3>&- &
	client=$!
	all_there() { [ "$(rows 'select(.name == "jobs") | .depth' slab)" -eq 5 ]; }
	until_true all_there
	[ "$(rows 'select(.name == "jobs") | .depth + .free > 0 and .bytes >= .object_bytes' slab)" = true ]
	kill "$client"
	wait "$client" || true
}

@test "ls: a line has 100 columns at the most; --wide has all there is" {
	pyprepctl submit noop --count 100000 -q >/dev/null
	longest=$(pyprepctl ipc ls --units human link ring memfd socket slab | wc -L)
	echo "longest line: $longest"
	[ "$longest" -le 100 ]
	pyprepctl ipc ls -w socket | grep -qF "$PYPREP_RUNTIME_DIR/pyprepd.sock"
}

@test "ls --watch: lists again and again" {
	run timeout 300 bash -c 'pyprepctl ipc ls slab --watch 10ms | head -n 20'
	[ "$(grep -c '^jobs' <<<"$output")" -ge 3 ]
}

@test "ls: a wrong kind and a wrong word are named" {
	says 2 "did you mean 'ring'" ipc ls rings
	says 2 "did you mean 'ls'" ipc l
	says 2 "ipc rm NAME" ipc rm
	says 3 "no named object" ipc rm "$MINE-not"
}

@test "a killed daemon's socket is an orphan, a living one's is not; rm takes it, and nothing else" {
	mine=".path == \"$PYPREP_RUNTIME_DIR/pyprepd.sock\""
	[ "$(rows "select($mine) | .state" socket)" = live ]
	pyprepctl ipc rm --orphans --dry-run "$PYPREP_RUNTIME_DIR/pyprepd.sock" | grep -q "no orphans"
	children=$(pgrep -P "$DAEMON")
	kill -KILL "$DAEMON"
	wait "$DAEMON" || true
	for pid in $children; do
		while [ -e "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.02; done
	done
	touch "$PYPREP_RUNTIME_DIR/mine"
	[ "$(rows "select($mine) | .state" socket)" = orphan ]
	says 0 "no process listens" ipc ls socket
	says 0 "no pyprepd answers" ipc ls
	socket=$PYPREP_RUNTIME_DIR/pyprepd.sock
	pyprepctl ipc rm --orphans --dry-run "$socket" | grep -q "would remove socket"
	[ -S "$socket" ]
	pyprepctl ipc rm --orphans "$socket" | grep -q "removed socket"
	[ ! -e "$socket" ]
	[ -e "$PYPREP_RUNTIME_DIR/mine" ]
	DAEMON=
}

@test "files that are not ours: not listed, or listed as unknown; never removed unasked" {
	echo "somebody's" >"/dev/shm/$MINE"
	head -c 4096 /dev/urandom >"/dev/shm/pyprep.test.$MINE"
	: >"/dev/shm/pyprep.$MINE"
	run pyprepctl ipc ls -q
	grep -qx "test.$MINE" <<<"$output"
	[ "$(grep -cx "$MINE" <<<"$output")" -eq 1 ] # pyprep.$MINE, not $MINE
	[ "$(rows "select(.name == \"$MINE\") | .state" segment)" = unknown ]
	pyprepctl ipc rm --orphans "$MINE" "test.$MINE" | grep -q "no orphans"
	says 1 "add --force" ipc rm "$MINE"
	[ -e "/dev/shm/$MINE" ] && [ -e "/dev/shm/pyprep.test.$MINE" ] && [ -e "/dev/shm/pyprep.$MINE" ]
	pyprepctl ipc rm --force "$MINE" | grep -q "removed segment $MINE"
	[ ! -e "/dev/shm/pyprep.$MINE" ]
	[ -e "/dev/shm/$MINE" ]
}

@test "1,000 rounds of ls leave the daemon's descriptors as they were" {
	count() { ls "/proc/$1/fd" | wc -l; }
	now() { echo "$(count "$DAEMON") $(count "$broker")"; }
	broker=$(broker)
	for _ in $(seq 20); do # what the first ones make and keep
		pyprepctl ipc ls -q >/dev/null
	done
	same=0 before=
	while [ $same -lt 15 ]; do # the last one's lane is closed, the spare worker is there
		sleep 0.1
		[ "$(now)" = "$before" ] && same=$((same + 1)) || same=0
		before=$(now)
	done
	for _ in $(seq 1000); do
		pyprepctl ipc ls -q >/dev/null
	done
	expected() { echo "$before"; }
	until_same now expected
}

@test "rounds: sees what a command leaves behind, and nothing where nothing is left" {
	rounds=$BATS_TEST_DIRNAME/../fault/rounds
	unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip "needs namespaces"
	timeout 600 "$rounds" -n 5 'pyprepctl ipc ls' 3>&-
	export ROUNDS_PATIENCE=2
	run timeout 600 "$rounds" -n 5 'touch /dev/shm/left.$ROUND' 3>&-
	[ "$status" -eq 1 ]
	grep -q 'RED.*touch' <<<"$output"
	run timeout 600 "$rounds" -n 5 'setsid sleep 300 & exit 0' 3>&-
	[ "$status" -eq 1 ]
	run timeout 600 "$rounds" -n 5 false 3>&-
	[ "$status" -eq 1 ]
}

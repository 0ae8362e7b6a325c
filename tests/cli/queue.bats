#!/usr/bin/env bats
# queue.bats - pyprepctl queue: queues by name, from the shell, without a daemon.

load helpers

setup() {
	NAME=bats-queue-$$-$BATS_TEST_NUMBER
	# no daemon, whatever runs on this machine
	export PYPREP_RUNTIME_DIR=$BATS_TEST_TMPDIR/none PYPREP_STATE_DIR=$BATS_TEST_TMPDIR/none
	mkdir -p "$PYPREP_RUNTIME_DIR"
}

teardown() {
	for pid in "${BACKGROUND[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
	done
	rm -f "/dev/shm/pyprep.queue.$NAME"
}

queue() { timeout -k 2 300 pyprepctl queue "$@"; }

stat_is() { queue stat "$NAME" --json | jq -e "$1" >/dev/null; }

# until_stat EXPRESSION: wait until the queue is such that the jq expression is true
until_stat() {
	until_true stat_is "$1" || { queue stat "$NAME" --json; return 1; }
}

@test "queue: create, put, get, stat, ls, rm" {
	says 0 "created queue $NAME: 3 messages of up to 100" queue create "$NAME" -c 3 -m 100
	says 1 "'$NAME' is taken" queue create "$NAME"
	says 0 "put 2 messages" queue put "$NAME" one "two words"
	json ".schema == \"pyprep.queue/1\" and .name == \"$NAME\" and .capacity == 3 and .message_max == 100
		and .depth == 2 and .high_water == 2 and .puts == 2 and .gets == 0 and .unfinished == 2
		and .bytes_in == 12 and (.closed | not) and .members == []" queue stat "$NAME" --json
	says 0 "2 of 3 messages" queue stat "$NAME"
	queue ls -q | grep -qxF "$NAME"
	queue ls | grep -qF "$NAME"
	[ "$(queue get "$NAME")" = one ]
	[ "$(queue get "$NAME")" = "two words" ]
	json '.gets == 2 and .unfinished == 0 and .lost == 0' queue stat "$NAME" --json
	says 0 "removed queue $NAME" queue rm "$NAME"
	says 3 "there is no queue '$NAME'" queue rm "$NAME"
}

@test "queue: mistakes are answered with what to type" {
	says 2 "queue takes one of create put get" queue
	says 2 "did you mean 'create'" queue crate "$NAME"
	says 2 "write: pyprepctl queue get NAME" queue get
	says 2 "cannot be a name" queue create a/b
	says 2 "the mode is an octal number" queue create "$NAME" --mode 888
	says 2 "--capacity wants a whole number" queue create "$NAME" --capacity 0
	queue create "$NAME" -m 5 -q
	says 3 "did you mean '$NAME'" queue get "${NAME}x" --no-wait
	says 2 "a message of 6 bytes; queue '$NAME' takes 5" queue put "$NAME" 123456
	says 2 "give --count or --all" queue get "$NAME" --count 2 --all
	json '.error.code == "no_such_queue" and .error.exit == 3' queue stat nothing-like-it --json
	printf 'no queue' >"/dev/shm/pyprep.queue.$NAME"
	says 1 "is no queue of this version" queue stat "$NAME"
}

@test "queue: full and empty: at once with --no-wait, in time with --timeout" {
	queue create "$NAME" -c 2 -q
	says 75 "queue '$NAME' is empty" queue get "$NAME" --no-wait
	says 124 "no message within the timeout" queue get "$NAME" --timeout 20ms
	says 75 "queue '$NAME' is full: 2 messages" queue put "$NAME" a b c --no-wait
	says 124 "no room within the timeout" queue put "$NAME" c --timeout 20ms
	says 75 "are not done" queue join "$NAME" --no-wait
	[ "$(queue get "$NAME" --all --no-wait | paste -sd,)" = a,b ]
	says 0 "all messages are done, 0 were lost" queue join "$NAME" --no-wait
}

@test "queue: lines go in, wait for room, come out in order, until it is closed" {
	queue create "$NAME" -c 7 -q
	seq 1000 | queue put "$NAME" - -q 3>&- &
	BACKGROUND+=($!)
	queue get "$NAME" --all >"$BATS_TEST_TMPDIR/got" 3>&- &
	consumer=$!
	BACKGROUND+=($consumer)
	until_stat '.puts == 1000'
	says 0 "closed queue $NAME" queue close "$NAME"
	wait "$consumer"
	cmp "$BATS_TEST_TMPDIR/got" <(seq 1000)
	says 1 "queue '$NAME' is closed" queue put "$NAME" more
	says 1 "is closed and drained" queue get "$NAME"
	json '.closed and .high_water <= 7 and .unfinished == 0 and .lost == 0' queue stat "$NAME" --json
}

@test "queue: bytes that are no text come as base64 in JSON; a message may begin with a dash, or be empty" {
	queue create "$NAME" -q
	printf 'caf\xc3\xa9\n\xff\xfe\n\n' | queue put "$NAME" -q
	queue put "$NAME" -q -- -x
	queue get "$NAME" --all --no-wait --json >"$BATS_TEST_TMPDIR/got"
	[ "$(jq -c .message "$BATS_TEST_TMPDIR/got" | paste -sd' ')" = '"café" {"base64":"//4="} "" "-x"' ]
	jq -es 'map(.bytes) == [5, 2, 0, 2]' "$BATS_TEST_TMPDIR/got"
}

@test "queue: of two consumers one is killed; the other gets all that follows" {
	queue create "$NAME" -q
	for i in 1 2; do
		pyprepctl queue get "$NAME" --all >"$BATS_TEST_TMPDIR/got.$i" 3>&- &
		consumer[i]=$!
		BACKGROUND+=($!)
	done
	until_stat '.members | length == 2'
	kill -KILL "${consumer[1]}"
	wait "${consumer[1]}" || true
	seq 100 | queue put "$NAME" -q
	queue close "$NAME" -q
	wait "${consumer[2]}"
	[ "$(cat "$BATS_TEST_TMPDIR"/got.*)" = "$(seq 100)" ]
	json '.members == [] and .unfinished == 0' queue stat "$NAME" --json
}

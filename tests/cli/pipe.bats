#!/usr/bin/env bats
# pipe.bats - pyprepctl pipe: what it sends comes back, and the end is seen.  No daemon is needed.

load helpers

setup() {
	FILES=$(mktemp -d)
}

teardown() {
	rm -rf "$FILES"
}

@test "pipe: words go there and back, and the end is seen" {
	run pyprepctl pipe hello there --count 50
	[ "$status" -eq 0 ]
	[[ $output == *"frame       11, sent to process "*" and back 50 times"* ]]
	[[ $output == *"end         the other side was killed: end of file after "* ]]
}

@test "pipe: --json says what was measured" {
	run pyprepctl pipe --size 300000 --count 500 --json
	[ "$status" -eq 0 ]
	jq -e '.schema == "pyprep.pipe/1" and .bytes == 300000 and .round_trips == 500 and
		.p50_ns > 0 and .p99_ns >= .p50_ns and .frames_per_s > 0 and
		.high_bytes >= 300000 and .kill_to_end_ns > 0 and .read_by_descriptor == null' \
		<<<"$output"
}

@test "pipe: standard input is one frame; a descriptor is passed" {
	head -c 5000000 /dev/zero >"$FILES/input"
	printf 'twelve bytes' >"$FILES/passed"
	run bash -c 'pyprepctl pipe - --count 3 --fd "$1/passed" --json <"$1/input"' _ "$FILES"
	[ "$status" -eq 0 ]
	jq -e '.bytes == 5000000 and .read_by_descriptor == 12' <<<"$output"
}

@test "pipe: a wrong command line is said" {
	says 2 "cannot open $FILES/none: No such file" pipe --fd "$FILES/none"
	says 1 "the other side cannot read $FILES: Is a directory" pipe --count 1 --fd "$FILES"
	says 2 "standard input is empty" pipe - </dev/null
	says 2 "the words are empty" pipe ""
	says 2 "--size wants a whole number from 1 to 67108864, not '0'" pipe --size 0
}

@test "pipe: killed, it leaves no process behind" {
	pyprepctl pipe --count 10000000 >/dev/null 3>&- &
	pid=$!
	has_child() {
		child=$(pgrep -P "$pid")
		[ -n "$child" ]
	}
	until_true has_child
	kill -KILL "$pid"
	wait "$pid" || true
	ended() { # whose child it is now may not reap it
		[ ! -e "/proc/$child" ] || grep -q '^State:.Z' "/proc/$child/status"
	}
	until_true ended
}

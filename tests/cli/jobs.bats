#!/usr/bin/env bats
# jobs.bats - pyprepctl against a real daemon: every subcommand's good path, what it prints,
# what --json holds, and which exit status it gives.

load helpers

setup_file() {
	daemon_start
	daemon_share
}

teardown_file() {
	daemon_of_file
	daemon_stop
}

setup() {
	daemon_of_file
}

# The fields every receipt has, and the sums that must hold.
RECEIPT='.schema == "pyprep.job/1" and (.id|type == "number")
	and (.stages | .submit_ns + .store_ns + .queue_ns + .dispatch_ns + .run_ns + .return_ns)
		+ .residual_ns == .total_ns
	and (.residual_ns | fabs) * 100 <= .total_ns
	and (.context_switches | has("voluntary") and has("involuntary"))
	and (.faults | has("minor") and has("major"))
	and has("peak_memory_bytes") and has("attempt") and has("method")
	and ((.ended_at | sub("\\.[0-9]{6}"; "") | fromdate) - now | fabs) < 60'
SPLIT='(.run | .oncpu_ns + .runqueue_ns + .blocked_ns) == .stages.run_ns'

@test "submit: one receipt that adds up, printed" {
	says 0 "succeeded, result 333332833333500000" submit sumsq n=1000000
	sums=$(grep -o 'total.*' <<<"$output" | head -1)
	[[ $sums =~ ^total\ ([0-9]+)\ ns\ =\ submit\ ([0-9]+)\ \+\ queue\ ([0-9]+)\ \+\ dispatch\ ([0-9]+)\ \+\ run\ ([0-9]+).*\+\ return\ ([0-9]+)\;\ residual\ (-?[0-9]+)\ ns$ ]]
	m=("${BASH_REMATCH[@]}")
	[ "${m[1]}" -eq $((m[2] + m[3] + m[4] + m[5] + m[6] + m[7])) ]
}

@test "--lane and PYPREP_LANE: the same job and the same receipt; what is not there is said" {
	for lane in shm unix; do
		run pyprepctl --lane $lane submit square x=12 --json
		[ "$status" -eq 0 ]
		jq -e "$RECEIPT and .result == 144" <<<"$output"
		PYPREP_LANE=$lane says 0 "succeeded, result 169" submit square x=13
	done
	says 2 "--lane wants one of shm|unix|zmq, not 'x'" --lane x ls
	PYPREP_LANE=x says 2 'there is no lane "x" (from PYPREP_LANE); expected shm, unix or zmq' ls
	says 69 "zmq_lane = yes" --lane zmq submit noop
}

@test "submit: human figures add up to the last digit, too" {
	for kind in "sleep ms=30" "sumsq n=20000000" noop; do
		# shellcheck disable=SC2086
		run pyprepctl --units human submit $kind
		[ "$status" -eq 0 ]
		python3 - "$output" <<-'END'
			import re, sys
			from decimal import Decimal
			line = [l for l in sys.argv[1].splitlines() if l.startswith("  total")][0]
			stages = re.sub(r"\(.*?\)", "", line)
			n = [Decimal(x) for x in re.findall(r"[a-z] (\d+(?:\.\d+)?)", stages)]
			assert n[0] == sum(n[1:6]), line
			split = re.search(r"run (\S+) \(on-CPU (\S+) \+ waiting for a CPU (\S+) \+ blocked (\S+)\)", line)
			run, *parts = [Decimal(x) for x in split.groups()]
			assert run == sum(parts), line
		END
	done
}

@test "submit --json: the schema, one object a job" {
	json "$RECEIPT and $SPLIT" submit sumsq n=1000000 --count 4 --json
	[ "$(wc -l <<<"$json_lines")" -eq 4 ]
	[ "$ctl_status" -eq 0 ]
	jq -e '.kind == "sumsq" and .pool == "cpu" and .executor == "process"
		and .state == "succeeded" and .error == null and .cause == null
		and .worker.pool == "cpu" and (.worker.pid | type == "number")' <<<"$json_lines"
}

@test "submit --json: what JSON numbers would round is a string" {
	json '.result == "333332833333500000"' submit sumsq n=1000000 --json
	json '.result == 332833500' submit sumsq n=1000 --json
}

@test "submit: many, only the summary" {
	says 0 "1000 succeeded" submit noop --count 1000
	[[ $output == *p50_ns*p90_ns*p99_ns* ]]
	[ "$(wc -l <<<"$output")" -lt 20 ]
	run pyprepctl submit noop --count 30 --all
	[ "$(grep -c 'succeeded  cpu/' <<<"$output")" -eq 30 ]
}

@test "submit: many, the failed ones up to ten" {
	says 1 "30 failed" submit fail how=error --count 30
	[ "$(grep -c 'failed on purpose' <<<"$output")" -eq 10 ]
	[[ $output == *"and 20 more that did not succeed"* ]]
}

@test "submit -q: ids, one a line" {
	run pyprepctl submit -q noop --count 5
	[ "$status" -eq 0 ]
	[ "$(sort -nu <<<"$output" | grep -cE '^[0-9]+$')" -eq 5 ]
}

@test "submit exec: output in the receipt" {
	says 0 "stdout | out" submit exec -- sh -c 'echo out; echo err >&2'
	[[ $output == *"stderr | err"* ]]
	json '.stdout == "out\n" and .stderr == "err\n" and .truncated == false' \
		submit --json exec -- sh -c 'echo out; echo err >&2'
	json '.stdout_base64 == "Yf9i" and (has("stdout") | not)' \
		submit --json exec -- printf 'a\377b'
	json '.cause == "exit 3" and .cause_value == 3 and .state == "failed"' \
		submit --json exec -- sh -c 'exit 3'
	[ "$ctl_status" -eq 3 ]
	json '.cause == "signal 9"' submit --json exec -- sh -c 'kill -9 $$'
	[ "$ctl_status" -eq 137 ]
}

@test "submit: refused, each with its status" {
	says 2 'there is no kind "sumsqq"; did you mean "sumsq"?' submit sumsqq n=1
	says 2 'sumsq has no parameter "m"' submit sumsq m=1
	says 2 'n must be an integer between' submit sumsq n=-1
	says 2 'n must be an integer between' submit sumsq n=x --count 1000
	says 2 'there is no pool "nix"' submit noop --pool nix
	says 2 'does not run kind' submit noop --pool shell
	json '.error.code == "out_of_range" and .error.exit == 2' submit sumsq n=-1 --json
	[ "$ctl_status" -eq 2 ]
}

@test "submit: Ctrl-C cancels and says so" {
	pyprepctl submit sleep ms=600000 --count 3 >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	submit=$!
	until_status '.jobs.running == 3'
	kill -INT "$submit"
	status=0
	wait "$submit" || status=$?
	[ "$status" -eq 130 ]
	grep -q "interrupted: cancelled 3 jobs" "$BATS_TEST_TMPDIR/said"
	json '.jobs.running == 0 and .jobs.queued == 0' status --json
}

@test "submit: a reader that goes away ends the jobs" {
	run bash -c 'pyprepctl submit noop --count 200000 -q | head -1; exit ${PIPESTATUS[0]}'
	[ "$status" -eq 141 ]
}

@test "run: output and status of a command" {
	run bash -c 'pyprepctl run exec -- sh -c "echo out; echo err >&2; exit 3" 2>/dev/null'
	[ "$status" -eq 3 ]
	[ "$output" = out ]
	run bash -c 'pyprepctl run exec -- sh -c "echo out; echo err >&2" 2>&1 >/dev/null'
	[ "$output" = err ]
	run pyprepctl run exec -- true
	[ "$status" -eq 0 ] && [ -z "$output" ]
	says 3 "exited with status 3" run exec -- sh -c 'exit 3'
	says 137 "killed by signal 9" run exec -- sh -c 'kill -9 $$'
	says 124 "timed out after" run --timeout 0.3 exec -- sleep 30
	says 127 "/no/such/program" run exec -- /no/such/program
	says 126 "" run exec -- /etc/passwd
	says 0 "b" run --shell exec -- 'echo a | tr a b'
}

@test "run: arguments arrive as they are" {
	run pyprepctl run exec -- printf '<%s>' 'a b' '' '*' "it's" '$HOME' -n --json
	[ "$output" = "<a b><><*><it's><\$HOME><-n><--json>" ]
}

@test "run: directory, environment and umask are the caller's" {
	cd "$BATS_TEST_TMPDIR"
	export PYPREP_TEST_VALUE="x y"
	umask 027
	run pyprepctl run exec -- sh -c 'pwd; echo "$PYPREP_TEST_VALUE"; umask'
	[ "$output" = "$PWD"$'\nx y\n0027' ]
}

@test "run: results and failures of kinds" {
	run pyprepctl run sumsq n=1000000
	[ "$output" = 333332833333500000 ]
	says 1 "failed on purpose" run fail how=error
	says 1 "signal 11" run fail how=signal
	# at once, not after some grace; a loaded machine may need another turn
	ends_at_once() {
		local begun=$(date +%s%N)
		says 124 "timed out" run --timeout 1 fail how=hang || return 1
		[ $((($(date +%s%N) - begun) / 1000000)) -lt 1500 ]
	}
	until_true ends_at_once
	run bash -c 'pyprepctl run --receipt noop 2>&1 >/dev/null'
	[[ $output == *"total "*"residual 0 ns"* ]]
}

@test "run: live output, and TERM ends the tree" {
	pyprepctl run exec -- sh -c 'echo begun; sleep 60 & wait' >"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	until_true test -s "$BATS_TEST_TMPDIR/out"
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = begun ]
	kill -TERM "$pid"
	status=0
	wait "$pid" || status=$?
	[ "$status" -eq 143 ]
}

@test "map LO..HI: one array job" {
	says 0 "1000000 items of square" map square 0..1000000
	[[ $output == *"999999 -> 999998000001"* ]]
	[[ $output == *"0 failed"* ]]
	run bash -c 'pyprepctl map square -3..1000 -o - | md5sum'
	[ "$output" = "$(seq -3 999 | awk '{print $1*$1}' | md5sum)" ]
	pyprepctl map square 0..50000 -o "$BATS_TEST_TMPDIR/squares"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/squares")" -eq 50000 ]
	[ "$(tail -1 "$BATS_TEST_TMPDIR/squares")" = 2499900001 ]
	json '.items == 1000 and .items_failed == 0' map square 0..1000 --json
}

@test "map: one job per item, results in order" {
	run bash -c 'pyprepctl map square 0..500 --each -o - | md5sum'
	[ "$output" = "$(seq 0 499 | awk '{print $1*$1}' | md5sum)" ]
	run bash -c "seq 300 -1 1 | pyprepctl map square - "
	[ "$status" -eq 0 ]
	[ "$output" = "$(seq 300 -1 1 | awk '{print $1*$1}')" ]
	run bash -c "printf '30\n20\n10' | pyprepctl map sleep - && printf x"
	[ "$status" -eq 0 ]
	run bash -c 'seq 3 | pyprepctl map exec - -- printf "<%s>"'
	[ "$output" = $'<1>\n<2>\n<3>' ]
	run bash -c 'pyprepctl map fib 0..10 method=memo -o - | tail -1'
	[ "$output" = 34 ]
	run pyprepctl map square - </dev/null
	[ "$status" -eq 0 ] && [ -z "$output" ]
}

@test "map: an item that fails leaves its line empty" {
	run bash -c "printf '2\nx\n4\n' | pyprepctl map square - 2>/dev/null"
	[ "$status" -eq 1 ]
	[ "$output" = $'4\n\n16' ]
	run bash -c "printf '2\nx\n4\n' | pyprepctl map square - 2>&1 >/dev/null"
	[[ $output == *"item 'x': bad_type"* ]]
}

@test "ls, show, wait, cancel" {
	pyprepctl submit -q sleep ms=600000 --count 3 >/dev/null 3>&- &
	client=$!
	until_status '.jobs.running == 3'
	ids=$(pyprepctl ls -q)
	[ "$(wc -w <<<"$ids")" -eq 3 ]
	set -- $ids
	says 0 running ls
	json '.state == "running" and .args == "ms=600000" and has("user")' ls --json
	json ".id == $1 and .kind == \"sleep\"" show "$1" --json
	says 0 "running" show "$1"
	says 124 "0 of 3 jobs have ended" wait "$@" --timeout 0.2
	says 0 "cancelled 1 job" cancel "$1"
	says 1 "cancelled" wait "$1"
	says 1 "cancelled" wait "$@" --any
	says 3 "no such job" cancel 999999999
	says 0 "cancelled 2 jobs" cancel --all
	says 1 "cancelled" wait "$@" --as-completed
	says 3 "there is no job 999999999" show 999999999
	says 3 "there is no job 999999999" wait 999999999
	wait "$client" || true
}

@test "wait: the job's own status" {
	go=$BATS_TEST_TMPDIR/go
	pyprepctl submit -q exec -- sh -c "until [ -e '$go' ]; do sleep 0.02; done; exit 7" \
		>/dev/null 3>&- &
	client=$!
	until_status '.jobs.running == 1'
	id=$(pyprepctl ls -q --state running)
	touch "$go"
	says 7 "exited with status 7" wait "$id"
	wait "$client" || [ $? -eq 7 ]
}

@test "kinds" {
	says 0 "sum of the squares" kinds
	says 0 "(required)" kinds sumsq
	says 2 "there is no kind 'sumsqq'; did you mean 'sumsq'?" kinds sumsqq
	json '.schema == "pyprep.kind/1" and has("params") and has("class")' kinds --json
	run pyprepctl kinds -q
	[[ $output == noop*exec ]]
}

@test "status, pools, ping" {
	says 0 "supervisor pid" status
	json '.schema == "pyprep.status/1" and .supervisor.pid > 1 and .broker.pid > 1
		and (.pools | length) == 4
		and all(.pools[]; has("name") and has("executor") and has("state")
			and all(.workers[]; .pid > 1 and has("slot") and has("state")
				and has("jobs") and has("restarts")))' status --json
	run pyprepctl pools -q
	[ "$output" = $'cpu\nio\nthreads\nshell' ]
	says 0 "pyprepd answers" ping
	json '.round_trip_ns > 0' ping --json
	says 0 "" ping -q --wait 60
}

@test "pool: resize, pause, resume" {
	size=$(pyprepctl status --json | jq '.pools[0].size')
	says 0 "pool cpu: $((size + 1)) workers" pool resize cpu $((size + 1))
	pyprepctl submit noop --count 100 >/dev/null
	says 0 "pool cpu: $size workers" pool resize cpu "$size"
	says 0 "pool io: paused" pool pause io
	json '.pools[1].state == "paused"' status --json
	pyprepctl submit sleep ms=1 -q >"$BATS_TEST_TMPDIR/id" 3>&- &
	client=$!
	until_status '.jobs.queued == 1'
	sleep 0.3 # time to begin it, if it could
	json '.jobs.queued == 1 and .jobs.running == 0' status --json
	[ ! -s "$BATS_TEST_TMPDIR/id" ]
	says 0 "pool io: running" pool resume io
	wait "$client"
	[ -s "$BATS_TEST_TMPDIR/id" ]
	says 2 'there is no pool "nix"' pool pause nix
}

@test "pool strategy: changed, shown, refused by name" {
	json '.pools[0] | .strategy == "priority" and .ageing_ns == 60000000000' status --json
	for strategy in fair sjf fifo priority; do
		says 0 "pool cpu: strategy $strategy" pool strategy cpu $strategy
		json ".pools[0].strategy == \"$strategy\"" status --json
		run pyprepctl pools
		[[ ${lines[1]} =~ ^cpu\ +process\ +ring\ +$strategy\ +running ]]
	done
	json '.pool == "io" and .strategy == "fair"' pool strategy io fair --json
	[ -z "$(pyprepctl pool strategy io priority -q)" ]
	says 2 'there is no strategy "priorty"; expected one of priority, fifo, fair, sjf; did you mean "priority"?' \
		pool strategy cpu priorty
	says 2 'there is no pool "nix"' pool strategy nix fair
}

@test "--cache: the same job once; its receipt, its output and the status say so" {
	json '.cached == false and .result == 49' submit square x=7 --cache 1h --json
	json '.cached and .result == 49 and .worker == null and .stages.run_ns == 0' \
		submit square x=7 --cache 1h --json
	says 0 "for pool cpu: succeeded (the result of job " submit square x=7 --cache 1h
	json '.cached == false' submit square x=7 --json
	date=$(pyprepctl run exec --cache 1h -- date +%N)
	[ "$(pyprepctl run exec --cache 1h -- date +%N)" = "$date" ]
	[ "$(cd /; pyprepctl run exec --cache 1h -- date +%N)" != "$date" ]
	[ "$(FROM=elsewhere pyprepctl run exec --cache 1h -- date +%N)" != "$date" ]
	id=$(pyprepctl submit -d -q exec --cache 1h -- date +%N)
	pyprepctl wait "$id" >/dev/null
	[ "$(pyprepctl logs "$id")" = "$date" ]
	json '.cached' show "$id" --json
	json '.cache | .entries == 4 and .hits >= 4 and .misses == 4 and .bytes > 0
		and .next_expiry_ns > 0 and .next_expiry_ns <= 3600e9' status --json
	says 0 "cache    4 of 4096 results" status
	run pyprepctl submit -n 50 square x=8 --cache 1h
	[ "$status" -eq 0 ]
	[[ $output == *"50 succeeded (49 did not run: kept results)"* ]]
	json '.cache.misses == 5' status --json
}

@test "units and colour" {
	run pyprepctl submit noop --count 2
	[[ $output != *$'\033'* ]]
	run pyprepctl --color always submit noop --count 2
	[[ $output == *$'\033[32msucceeded\033[0m'* ]]
	run pyprepctl --units human submit sleep ms=2
	[[ $output =~ \ m?s\ =\ submit\  ]]
}

@test "percentiles stay true when there are too many values to keep" {
	run pyprepctl submit noop --count 70000
	[ "$status" -eq 0 ]
	[[ $output == *"percentiles within 0.4 %"* ]]
}

@test "the daemon's broker dies: 125, a clear word, nobody hangs" {
	pyprepctl run sleep ms=600000 >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	client=$!
	until_status '.jobs.running == 1'
	kill -KILL "$(pyprepctl status --json | jq .broker.pid)"
	status=0
	wait "$client" || status=$?
	[ "$status" -eq 125 ]
	grep -q "the daemon ended this connection" "$BATS_TEST_TMPDIR/said"
	pyprepctl ping -q --wait 60
	says 0 "" run noop
}

@test "stop: the daemon is gone when it returns" {
	(
		unset DAEMON
		daemon_start
		pid=$(pyprepctl status --json | jq .supervisor.pid)
		pyprepctl reload
		pyprepctl stop
		! kill -0 "$pid" 2>/dev/null || [ "$(awk '{print $3}' "/proc/$pid/stat")" = Z ]
		pyprepctl ping 2>/dev/null && exit 1
		rm -rf "$PRIVATE"
	)
}

@test "--retries: a job that fails twice succeeds the third time, and its receipt tells" {
	count=$BATS_TEST_TMPDIR/count
	says 0 "succeeded at attempt 3 (attempts 1-2: exit 1)" \
		submit --retries 5 --backoff const:0 --retry-on exit:1,signal exec --shell -- \
		"echo x >>$count; [ \$(wc -l <$count) -ge 3 ]"
	[ "$(wc -l <"$count")" -eq 3 ]
	json '.attempt == 3 and .state == "failed" and .cause == "exit 9" and .exit_status == 9
		and .error.message == "exited with status 9 (attempts 1-2: exit 9)"' \
		run --json --retries 2 --backoff exp:1ms..2ms --jitter none exec --shell -- "exit 9"
	[ "$ctl_status" -eq 9 ]
	says 1 "run_failed: failed on purpose" run --retries 3 --retry-on timeout fail
	never grep -q attempt <<<"$output"
	json '.attempt == 2 and .error == null and .earlier == "attempt 1: exit 1"' \
		submit --json --retries 1 --backoff const:0 exec --shell -- "[ -e $count.2 ] || { touch $count.2; exit 1; }"
}

@test "--retries of map: each item's own" {
	tries=$BATS_TEST_TMPDIR/tries
	mkdir "$tries"
	says 2 "add --each, and each item is a job with --retries" map square 0..5 --retries 2
	json '.attempt == 2 and .state == "succeeded"' \
		map exec 0..5 --json --retries 3 --backoff const:0 -- /bin/sh -c \
		"[ -e $tries/\$0 ] || { touch $tries/\$0; exit 1; }"
	[ "$(wc -l <<<"$json_lines")" -eq 5 ]
}

@test "--delay and --at: not before their time" {
	json '.state == "succeeded" and .total_ns >= 300000000' submit --json --delay 300ms noop
	at=$(date -d '+2 seconds' +%s)
	says 0 succeeded submit --at "$(date -u -d "@$at" +%FT%TZ)" noop
	[ "$(date +%s)" -ge "$at" ]
}

@test "a policy is refused by the library, and by the daemon" {
	says 2 'label "a" is given twice' submit --label a=1 --label a=2 noop
	says 2 'label: the value must be UTF-8 without control characters' submit --label $'a=\xff' noop
	says 2 'key must have 1 to 127 bytes, not 128' submit --key "$(printf 'k%.0s' {1..128})" noop
}

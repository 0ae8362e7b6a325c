#!/usr/bin/env bats
# log.bats - the daemon's own lines, of a real one: forms, fields, what a storm makes of them.

load helpers

teardown() {
	daemon_stop
}

# stopped: the daemon has ended, its log is whole; it is in $log
stopped() {
	pyprepctl stop
	for _ in $(seq 600); do
		kill -0 "$DAEMON" 2>/dev/null || break
		sleep 0.1
	done
	log=$(<"$PRIVATE/log")
}

# fails JOBS...: submit jobs that fail, tell their ids
fails() {
	pyprepctl submit --json "$@" | jq -r .id
}

@test "log: a failed job has a line with its number, pool, kind and status" {
	daemon_start --log-format logfmt
	id=$(fails exec -- sh -c 'exit 3')
	stopped
	echo "$log"
	[ "$(grep -cE " event=job_failed job=$id kind=exec pool=shell worker=shell/[01] worker_pid=[0-9]+ cause=exit status=3\$" <<<"$log")" = 1 ]
	grep -q ' event=started$' <<<"$log"
	grep -q ' event=drained$' <<<"$log"
	[[ $(tail -1 <<<"$log") == *" event=stopped" ]]
}

@test "log: a job that succeeds has none, nor a cancelled one" {
	daemon_start --log-format logfmt
	pyprepctl run -q noop
	pyprepctl submit -q sleep ms=60000 &
	until_status '.jobs.running == 1'
	pyprepctl cancel --all
	wait $! || true
	stopped
	[ "$(grep -c ' job=' <<<"$log")" = 0 ]
}

@test "log: JSON, one object a line, with the same fields" {
	daemon_start --log-format json
	id=$(fails exec -- sh -c 'kill -9 $PPID')
	until_status '.pools[] | select(.name == "shell") | [.workers[].restarts] | add == 1'
	stopped
	echo "$log"
	jq -es 'all(.schema == "pyprep.log/1" and (.msg | length > 0) and .pid > 1)' <<<"$log"
	jq -es --argjson id "$id" '[.[] | select(.event == "job_failed" and .job == $id)] |
		length == 1 and .[0].cause == "worker_died" and .[0].signal == 9 and .[0].level == "warn"' <<<"$log"
	jq -es '[.[] | select(.event == "worker_died")] | length == 1 and .[0].pool == "shell" and
		.[0].message_id == "2bb675438bd04ea6a3b0616291c9021e"' <<<"$log"
}

@test "log: text has no fields; the environment chooses where no option does" {
	PYPREP_LOG_FORMAT=text daemon_start
	fails fail >/dev/null
	stopped
	grep -q 'msg="job 1 (fail, pool cpu) failed: ' <<<"$log"
	[ "$(grep -c 'event=' <<<"$log")" = 0 ]
}

@test "log: the option counts for more than the environment, that for more than the file" {
	printf '[daemon]\nlog_format = text\n' >"$BATS_TEST_TMPDIR/conf"
	PYPREP_LOG_FORMAT=logfmt daemon_start --config "$BATS_TEST_TMPDIR/conf" --log-format json
	stopped
	jq -es 'length > 1' <<<"$log"
	rm -rf "$PRIVATE"
	PYPREP_LOG_FORMAT=logfmt daemon_start --config "$BATS_TEST_TMPDIR/conf"
	stopped
	grep -q 'event=started' <<<"$log"
	rm -rf "$PRIVATE"
	daemon_start --config "$BATS_TEST_TMPDIR/conf"
	stopped
	[ "$(grep -c 'event=' <<<"$log")" = 0 ]
}

@test "log: a form that is none is refused, or named and left" {
	run "$PYPREP_BIN/pyprepd" --log-format xml
	[ "$status" -eq 2 ]
	[[ $output == *'"xml" is none; expected auto, text, logfmt, json or journal'* ]]
	printf '[daemon]\nlog_format = jsn\n' >"$BATS_TEST_TMPDIR/conf"
	run "$PYPREP_BIN/pyprepd" --config "$BATS_TEST_TMPDIR/conf"
	[ "$status" -eq 78 ]
	[[ $output == *'did you mean \"json\"?'* ]]
	PYPREP_LOG_FORMAT=xml daemon_start
	stopped
	[[ $log == *'PYPREP_LOG_FORMAT is \"xml\"; expected'* ]]
}

@test "log: what an operator does to a pool is told" {
	daemon_start --log-format logfmt
	pyprepctl pool pause cpu >/dev/null
	pyprepctl pool pause cpu >/dev/null # it is already
	pyprepctl pool resume cpu >/dev/null
	pyprepctl pool resize cpu 3 >/dev/null
	until_status '.pools[] | select(.name == "cpu") | .size == 3'
	stopped
	echo "$log"
	[ "$(grep -c 'msg="pool cpu is paused, was running" event=pool_state pool=cpu$' <<<"$log")" = 1 ]
	[ "$(grep -c 'msg="pool cpu is running, was paused" event=pool_state pool=cpu$' <<<"$log")" = 1 ]
	grep -q ' event=pool_resized pool=cpu$' <<<"$log"
}

@test "log: ten thousand failed jobs are counted, not written" {
	daemon_start --log-format logfmt
	pyprepctl submit -q fail --count 10000 >/dev/null || [ $? = 1 ]
	stopped
	written=$(grep -c ' event=job_failed ' <<<"$log")
	told=$(sed -nE 's/.*msg="([0-9]+) job_failed lines were left out.*event=suppressed$/\1/p' <<<"$log" | awk '{ n += $1 } END { print n + 0 }')
	echo "$written written, $told told"
	[ "$((written + told))" = 10000 ]
	[ "$written" -lt 10000 ]
}

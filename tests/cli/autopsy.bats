# autopsy.bats - show tells how a worker died: of what, with how much memory, and who was beside.
bats_require_minimum_version 1.5.0
load helpers

teardown() {
	daemon_stop
	[ -z "${GROUP:-}" ] || rmdir "$GROUP"
}

@test "show: a death in each attempt, and the jobs that died with it" {
	daemon_start
	culprit=$(pyprepctl submit -d -q --pool threads --crash-limit 1 fail how=signal after_ms=500)
	bystander=$(pyprepctl submit -d -q --pool threads sleep ms=1500)
	run pyprepctl wait -q "$culprit" "$bystander"
	[ "$(pyprepctl show "$culprit" --json | jq -c '.attempts[0].autopsy | .signal, .oom, .beside')" = \
		$'11\nfalse\n['"$bystander]" ]
	[ "$(pyprepctl show "$bystander" --json | jq -c '.state, .attempts[0].autopsy.beside')" = \
		$'"succeeded"\n['"$culprit]" ]
	json '.attempts[-1].autopsy | .memory_peak > 100000 and .lived_ns > 500000000 and .jobs == 1' \
		show "$culprit" --json
	[[ $(pyprepctl show "$culprit") == *"attempt 1: failed, worker_died: worker 0 (pid "*") was killed by signal 11 (Segmentation fault); it had lived "*", begun 2 jobs, taken "*" s of CPU and at most "*" MiB; with it died job $bystander"* ]]
	[[ $(pyprepctl show "$bystander") == *"  attempt "?": succeeded" ]]
}

@test "a worker that the kernel kills for want of memory: cause oom, --retry-on oom" {
	GROUP=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)/pyprep-oom-$$
	mkdir "$GROUP" 2>/dev/null || skip "no group with a memory limit can be made here"
	echo 150000000 >"$GROUP/memory.limit_in_bytes"
	echo "$BASHPID" >"$GROUP/cgroup.procs"
	daemon_start
	echo "$BASHPID" >"$GROUP/../cgroup.procs"
	run -1 pyprepctl run touch bytes=400000000
	[[ $output == *"was killed by signal 9 (Killed): its cgroup had no memory left"* ]]
	id=$(pyprepctl submit -d -q --retries 1 --backoff const:0 --retry-on timeout touch bytes=400000000)
	run -1 pyprepctl wait -q "$id"
	json '.cause == "oom" and .state == "failed" and .attempt == 1' show "$id" --json
	id=$(pyprepctl submit -d -q --crash-limit 1 touch bytes=400000000)
	run -1 pyprepctl wait -q "$id"
	json '.cause == "oom" and .state == "dead" and .attempt == 2 and .attempts[0].autopsy.oom' show "$id" --json
	# The control arm: a kill by hand is none.
	id=$(pyprepctl submit -d -q sleep ms=3000 --crash-limit 10 --pool cpu)
	for _ in $(seq 100); do
		pid=$(pyprepctl show "$id" --json | jq '.worker.pid // empty')
		[ -z "$pid" ] || break
	done
	kill -9 "$pid"
	run -0 pyprepctl wait -q "$id"
	json '.attempts[0] | .cause == "worker_died" and (.autopsy.oom | not)' show "$id" --json
}

#!/usr/bin/env bats
# array.bats - array jobs against a real daemon: their end by a timeout.

load helpers

setup() {
	daemon_start
}

teardown() {
	daemon_stop
}

@test "map: a timeout ends the whole array job, not each of its ranges" {
	says 124 "timed_out" map square 0..3000000000 --timeout 0.2
	says 0 "1 timed_out" status
	says 0 "succeeded" submit sumsq n=10
}

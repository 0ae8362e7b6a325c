#!/usr/bin/env bats
# lab.bats - pyprepctl ipc lab: every way is measured, the figures belong together, nothing stays.

load helpers
bats_require_minimum_version 1.5.0

@test "ipc lab measures every link and every lane, and says who is best" {
	run --separate-stderr bash -c 'echo $$ >"$0"; exec pyprepctl ipc lab --quick --payload 64..64K --json' \
		"$BATS_TEST_TMPDIR/pid"
	[ "$status" = 0 ]
	[ "$(jq -s '[.[] | select(.p50_ns != null)] | length' <<<"$output")" = 42 ]
	jq -se '[.[] | select(.p50_ns != null) | select(.p50_ns <= 0 or .messages_per_s <= 0
		or .cpu_ns <= 0 or .p50_worst_ns < .p50_ns)] == []' <<<"$output"
	# GB/s is what messages/s and payload make
	jq -se '[.[] | select(.p50_ns != null) |
		(.bytes_per_s / (.messages_per_s * .payload_bytes) - 1) | fabs] | max < 0.001' <<<"$output"
	[ "$(jq -sr '[.[] | select(.p50_ns != null) | .link] | unique | join(" ")' <<<"$output")" = "pipe queue ring zmq" ]
	[ "$(jq -sr '[.[] | select(.p50_ns != null) | .lane] | unique | join(" ")' <<<"$output")" = "shm unix zmq" ]
	[ "$(jq -sr '[.[] | select(.payload_bytes == 65536) | .carried] | unique | join(" ")' <<<"$output")" = array ]
	# the choice is the least p50 of the links
	best=$(jq -sr '[.[] | select(.payload_bytes == 64 and .lane == "shm" and .p50_ns != null)] |
		min_by(.p50_ns).link' <<<"$output")
	[ "$(jq -sr '.[-1].choices[] | select(.goal == "p50" and .payload_bytes == 64).link' <<<"$output")" = "$best" ]
	[ -z "$(left_by lab "$(cat "$BATS_TEST_TMPDIR/pid")")" ]
}

@test "ipc lab draws its curves, and writes them as SVG" {
	run --separate-stderr pyprepctl ipc lab --quick --payload 64..256 --svg "$BATS_TEST_TMPDIR/lab.svg"
	[ "$status" = 0 ]
	[[ "$output" == *"Which link to choose on this machine:"* ]]
	[[ "$output" == *"r ring, p pipe, q queue, z zmq, U unix lane, Z zmq lane"* ]]
	[ "$(grep -c '<polyline' "$BATS_TEST_TMPDIR/lab.svg")" = 6 ]
	python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$BATS_TEST_TMPDIR/lab.svg"
}

@test "ipc lab refuses sizes that it cannot measure, and words" {
	run pyprepctl ipc lab --payload 1..4
	[ "$status" = 2 ]
	[[ "$output" == *"--payload 1..4: expected sizes from 64 to 16M"* ]]
	run pyprepctl ipc lab --payload 4K..64
	[ "$status" = 2 ]
	run pyprepctl ipc lab ring
	[ "$status" = 2 ]
}

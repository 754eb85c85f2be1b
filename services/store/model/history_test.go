package model_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// The verbs of operations.
const (
	create = "create"
	update = "update"
	// swap replaces a known version alone.
	swap   = "swap"
	remove = "remove"
	read   = "read"
)

// How operations end.
const (
	done     = "done"
	exists   = "exists"
	absent   = "absent"
	conflict = "conflict"
	unknown  = "unknown"
)

type input struct{ verb, name, value, from string }

type output struct{ result, value string }

func resultOf(err error) string {
	switch {
	case err == nil:
		return done
	case apierrors.IsAlreadyExists(err):
		return exists
	case apierrors.IsNotFound(err):
		return absent
	case apierrors.IsConflict(err):
		return conflict
	}
	return unknown
}

// isEnded says whether a call ended because its Store was stopped.
func isEnded(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF)
}

// history is what the writers did and were told, for a check of
// linearizability.
type history struct {
	began time.Time
	once  sync.Once

	mu         sync.Mutex // guards operations
	operations []porcupine.Operation
}

// now is the time as operations have it.
func (h *history) now() int64 {
	h.once.Do(func() { h.began = time.Now() })
	return time.Since(h.began).Nanoseconds()
}

// add notes an operation that has just ended. One whose outcome is unknown may
// still take effect at any time.
func (h *history) add(writer int, in input, out output, began int64) {
	ended := h.now()
	if out.result == unknown {
		if in.verb == read {
			return
		}
		ended = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{ClientId: writer, Input: in, Output: out, Call: began, Return: ended})
}

func (h *history) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.operations)
}

// patience bounds the search, which can take long for a history with many
// unknown outcomes. One that is not linearizable is found much sooner.
const patience = 20 * time.Second

func (h *history) judge(t *testing.T) {
	t.Helper()
	model := objects()
	if result := porcupine.CheckOperationsTimeout(model, h.operations, patience); result == porcupine.Illegal {
		t.Errorf("the history of %d operations is not linearizable", len(h.operations))
		for _, part := range model.Partition(h.operations) {
			if porcupine.CheckOperations(model, part) {
				continue
			}
			for _, o := range part {
				t.Logf("%d..%d writer %d: %s", o.Call, o.Return, o.ClientId, model.DescribeOperation(o.Input, o.Output))
			}
		}
	}
}

// objects is the model: each name has a value, "" for none.
func objects() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byName := make(map[string][]porcupine.Operation)
			for _, o := range all {
				name := o.Input.(input).name
				byName[name] = append(byName[name], o)
			}
			var out [][]porcupine.Operation
			for _, part := range byName {
				out = append(out, part)
			}
			return out
		},
		Init: func() []any { return []any{""} },
		Step: func(state, in, out any) []any { return step(state.(string), in.(input), out.(output)) },
		DescribeOperation: func(in, out any) string {
			i, o := in.(input), out.(output)
			return fmt.Sprintf("%s %s %s (from %q): %s %s", i.verb, i.name, i.value, i.from, o.result, o.value)
		},
	}
	return model.ToModel()
}

// step returns the states that an operation can lead to, none if it cannot have
// ended as it did.
func step(state string, in input, out output) []any {
	next, result := outcome(state, in)
	switch {
	case out.result == unknown:
		return []any{state, next}
	case out.result == conflict && in.verb == update, out.result == conflict && in.verb == remove:
		return []any{state} // it lost to others too often
	case out.result != result:
		return nil
	case in.verb == read && result == done && out.value != state:
		return nil
	}
	return []any{next}
}

// outcome is what an operation does and how it ends.
func outcome(state string, in input) (next, result string) {
	switch {
	case in.verb == create && state != "":
		return state, exists
	case in.verb == create:
		return in.value, done
	case state == "":
		return state, absent
	case in.verb == swap && state != in.from:
		return state, conflict
	case in.verb == remove:
		return "", done
	case in.verb == read:
		return state, done
	}
	return in.value, done
}

// The check itself must notice what is wrong.
func TestHistoriesThatCannotBe(t *testing.T) {
	ok, op := output{result: done}, func(call, ret int64, in input, out output) porcupine.Operation {
		return porcupine.Operation{Input: in, Output: out, Call: call, Return: ret}
	}
	for name, tc := range map[string]struct {
		linearizable bool
		operations   []porcupine.Operation
	}{
		"a read of what was written": {true, []porcupine.Operation{
			op(1, 2, input{verb: create, value: "a"}, ok), op(3, 4, input{verb: read}, output{done, "a"})}},
		"a stale read": {false, []porcupine.Operation{
			op(1, 2, input{verb: create, value: "a"}, ok), op(3, 4, input{verb: update, value: "b"}, ok), op(5, 6, input{verb: read}, output{done, "a"})}},
		"a lost write": {false, []porcupine.Operation{
			op(1, 2, input{verb: create, value: "a"}, ok), op(3, 4, input{verb: read}, output{result: absent})}},
		"a write that may have been lost": {true, []porcupine.Operation{
			op(1, math.MaxInt64, input{verb: create, value: "a"}, output{result: unknown}), op(3, 4, input{verb: read}, output{result: absent}), op(5, 6, input{verb: read}, output{done, "a"})}},
		"a lost update": {false, []porcupine.Operation{
			op(1, 2, input{verb: create, value: "a"}, ok), op(3, 6, input{verb: swap, from: "a", value: "b"}, ok), op(4, 5, input{verb: swap, from: "a", value: "c"}, ok)}},
	} {
		if got := porcupine.CheckOperations(objects(), tc.operations); got != tc.linearizable {
			t.Errorf("%s: linearizable %t", name, got)
		}
	}
}

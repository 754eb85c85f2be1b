package client

import (
	"errors"
	"testing"
)

type derived struct{ n int }

// TestShared: what one has made all get, and who fails has made nothing.
func TestShared(t *testing.T) {
	made := 0
	try := func() (*derived, error) {
		if made++; made == 1 {
			return nil, errors.New("not yet")
		}
		return &derived{made}, nil
	}
	informers := NewInformers(New(nil, "test"))
	if _, err := Shared(informers, try); err == nil {
		t.Error("a failure is not told of")
	}
	for range 2 {
		if d, err := Shared(informers, try); err != nil || d.n != 2 {
			t.Errorf("got %+v, %v", d, err)
		}
	}
	if d, err := Shared(NewInformers(New(nil, "test")), try); err != nil || d.n != 3 {
		t.Errorf("of other informers: got %+v, %v", d, err)
	}
}

package defaultbinder

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

type store func(*storev1.BindRequest) (*storev1.BindResponse, error)

func (s store) Bind(_ context.Context, req *storev1.BindRequest, _ ...grpc.CallOption) (*storev1.BindResponse, error) {
	return s(req)
}

func TestBind(t *testing.T) {
	bindings := []framework.Binding{
		{Context: t.Context(), Pod: schedtest.Pod("a").Info(), Node: "n1"},
		{Context: t.Context(), Pod: schedtest.Pod("b").Info(), Node: "n2"},
	}
	for _, tt := range []struct {
		name  string
		store store
		want  [2]string // "" is success
	}{
		{"one of two", func(*storev1.BindRequest) (*storev1.BindResponse, error) {
			return &storev1.BindResponse{Results: []*storev1.BindResult{{}, {Code: 10, Reason: "Conflict", Message: "taken"}}}, nil
		}, [2]string{"", "Conflict: taken"}},
		{"the call fails", func(*storev1.BindRequest) (*storev1.BindResponse, error) { return nil, errors.New("gone") }, [2]string{"gone", "gone"}},
		{"an answer is missing", func(*storev1.BindRequest) (*storev1.BindResponse, error) {
			return &storev1.BindResponse{Results: []*storev1.BindResult{{}}}, nil
		}, [2]string{"answered 1 of 2", "answered 1 of 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i, s := range New(tt.store).Bind(t.Context(), bindings) {
				if s.Success() != (tt.want[i] == "") || !strings.Contains(s.Message(), tt.want[i]) {
					t.Errorf("binding %d: %v %q", i, s.Code(), s.Message())
				}
			}
		})
	}
}

package controller

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	controllerv1 "navarch.dev/navarch/proto/navarch/controller/v1"
	"navarch.dev/navarch/services/controller/runner"
)

// server answers ControllerService.
type server struct {
	controllerv1.UnimplementedControllerServiceServer
	controller *Controller
}

// ListControllers returns the running controllers' states.
func (s *server) ListControllers(_ context.Context, req *controllerv1.ListControllersRequest) (*controllerv1.ListControllersResponse, error) {
	running := s.controller.snapshot()
	resp := &controllerv1.ListControllersResponse{Leader: running != nil}
	for _, c := range running {
		if req.GetName() == "" || req.GetName() == c.Name() {
			resp.Controllers = append(resp.Controllers, statusProto(c.Status()))
		}
	}
	if req.GetName() != "" && running != nil && len(resp.GetControllers()) == 0 {
		return nil, status.Errorf(codes.NotFound, "there is no controller %q", req.GetName())
	}
	return resp, nil
}

func statusProto(s runner.Status) *controllerv1.ControllerStatus {
	p := &controllerv1.ControllerStatus{
		Name: s.Name, Workers: int32(s.Workers), QueueDepth: int32(s.QueueDepth),
		Reconciles: s.Reconciles, Errors: s.Errors,
	}
	for _, f := range s.Failing {
		p.Failing = append(p.Failing, &controllerv1.ObjectError{
			Key: f.Key, Message: f.Message, Attempts: int32(f.Attempts), Time: timestamppb.New(f.Time),
		})
	}
	return p
}

// WatchReconciles streams reconciles until the caller leaves or falls behind.
func (s *server) WatchReconciles(req *controllerv1.WatchReconcilesRequest, stream grpc.ServerStreamingServer[controllerv1.WatchReconcilesResponse]) error {
	reconciles, cancel := s.controller.feed.Subscribe()
	defer cancel()
	for {
		select {
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case r, ok := <-reconciles:
			if !ok {
				return status.Error(codes.ResourceExhausted, "the watcher was too slow and has been cut off")
			}
			if req.GetController() != "" && req.GetController() != r.Controller {
				continue
			}
			if err := stream.Send(reconcileProto(r)); err != nil {
				return err
			}
		}
	}
}

func reconcileProto(r runner.Reconcile) *controllerv1.WatchReconcilesResponse {
	p := &controllerv1.WatchReconcilesResponse{
		Controller: r.Controller, Key: r.Key, Time: timestamppb.New(r.Time), Duration: durationpb.New(r.Duration),
	}
	if r.Err != nil {
		p.Error = r.Err.Error()
	}
	if r.RequeueAfter > 0 {
		p.RequeueAfter = durationpb.New(r.RequeueAfter)
	}
	return p
}

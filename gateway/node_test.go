package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/apistatus"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// node is an agent whose containers understand a few commands.
type node struct {
	nodev1.UnimplementedNodeServiceServer
	channel *inprocgrpc.Channel
	// pods are the names of the pods that Stats tells of, by uid.
	pods map[string]string
}

func newNode(testing.TB) *node {
	n := &node{channel: &inprocgrpc.Channel{}}
	n.channel.WithServerStreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		return apistatus.ToGRPC(h(srv, ss))
	})
	nodev1.RegisterNodeServiceServer(n.channel, n)
	return n
}

func (n *node) Dial(context.Context, string, string) (grpc.ClientConnInterface, error) {
	return n.channel, nil
}

func (n *node) Logs(req *nodev1.LogsRequest, stream grpc.ServerStreamingServer[nodev1.LogsResponse]) error {
	if req.GetPrevious() {
		return apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", req.GetContainer(), req.GetPod()))
	}
	lines := []string{"one\n", "two\n", "three\n"}
	if req.TailLines != nil {
		lines = lines[max(0, len(lines)-int(req.GetTailLines())):]
	}
	for _, line := range lines {
		if err := stream.Send(&nodev1.LogsResponse{Data: []byte(line)}); err != nil {
			return err
		}
	}
	if req.GetFollow() {
		<-stream.Context().Done()
	}
	return nil
}

// Exec knows: cat (copies its input), exit N, size (waits for the terminal's
// size), hang.
func (n *node) Exec(stream grpc.BidiStreamingServer[nodev1.ExecRequest, nodev1.ExecResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	out := func(text string) error {
		return stream.Send(&nodev1.ExecResponse{Message: &nodev1.ExecResponse_Stdout{Stdout: []byte(text)}})
	}
	exit := &nodev1.Exit{}
	switch start.GetCommand()[0] {
	case "cat":
		for {
			req, err := stream.Recv()
			if err != nil {
				return err
			}
			if req.GetStdinClosed() {
				break
			}
			if err := out(string(req.GetStdin())); err != nil {
				return err
			}
		}
	case "exit":
		if err := stream.Send(&nodev1.ExecResponse{Message: &nodev1.ExecResponse_Stderr{Stderr: []byte("failing\n")}}); err != nil {
			return err
		}
		_, _ = fmt.Sscan(start.GetCommand()[1], &exit.ExitCode)
	case "size":
		for {
			req, err := stream.Recv()
			if err != nil {
				return err
			}
			if s := req.GetResize(); s != nil {
				if err := out(fmt.Sprintf("%dx%d", s.GetWidth(), s.GetHeight())); err != nil {
					return err
				}
				break
			}
		}
	case "echo":
		if err := out(start.GetCommand()[1]); err != nil {
			return err
		}
	case "hang":
		<-stream.Context().Done()
		return stream.Context().Err()
	default:
		exit.Error = fmt.Sprintf("exec: %q: executable file not found in $PATH", start.GetCommand()[0])
	}
	return stream.Send(&nodev1.ExecResponse{Message: &nodev1.ExecResponse_Exit{Exit: exit}})
}

// Attach says which container it is in and copies its input.
func (n *node) Attach(stream grpc.BidiStreamingServer[nodev1.AttachRequest, nodev1.AttachResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	text := "attached to " + first.GetStart().GetContainer()
	if err := stream.Send(&nodev1.AttachResponse{Message: &nodev1.AttachResponse_Stdout{Stdout: []byte(text)}}); err != nil {
		return err
	}
	return stream.Send(&nodev1.AttachResponse{Message: &nodev1.AttachResponse_Exit{Exit: &nodev1.Exit{}}})
}

// PortForward shouts back what it is told on port 80 and refuses others.
func (n *node) PortForward(stream grpc.BidiStreamingServer[nodev1.PortForwardRequest, nodev1.PortForwardResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if port := first.GetStart().GetPort(); port != 80 {
		return fmt.Errorf("connection to port %d refused", port)
	}
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&nodev1.PortForwardResponse{Data: []byte(strings.ToUpper(string(req.GetData())))}); err != nil {
			return err
		}
	}
}

// runPod makes a pod that runs on a node.
func (c *cluster) runPod(name string, containers ...string) {
	c.t.Helper()
	ctx := c.t.Context()
	cs := c.clientset("application/json").CoreV1()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if created, err := cs.Nodes().Create(ctx, n, metav1.CreateOptions{}); err == nil {
		created.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}}
		created.Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
		if _, err := cs.Nodes().UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
			c.t.Fatal(err)
		}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: "n1"}}
	for _, container := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: container, Image: "image"})
	}
	created, err := cs.Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	created.Status.Phase = corev1.PodRunning
	if _, err := cs.Pods("default").UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

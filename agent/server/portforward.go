package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/network"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// PortForward joins one connection to a port in a pod's network namespace.
func (s *Server) PortForward(stream grpc.BidiStreamingServer[nodev1.PortForwardRequest, nodev1.PortForwardResponse]) error {
	ctx := stream.Context()
	if err := authorizeController(ctx); err != nil {
		return err
	}
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	start := req.GetStart()
	if start == nil || start.GetPort() == 0 || start.GetPort() > 65535 {
		return status.Error(codes.InvalidArgument, "the first message is not a start with a port")
	}
	info, err := s.pods.Pod(ctx, start.GetNamespace(), start.GetPod())
	if err != nil {
		return asStatus(err)
	}
	hosts := []string{"127.0.0.1", "::1"}
	if own := start.GetAddress(); own != "" {
		isOwn := func(ip corev1.PodIP) bool { return ip.IP == own }
		if !slices.ContainsFunc(info.Object.Status.PodIPs, isOwn) {
			return status.Errorf(codes.InvalidArgument, "address %q is none of pod %s/%s", own, start.GetNamespace(), start.GetPod())
		}
		hosts = []string{own}
	}
	conn, err := dialInside(ctx, info.NetNS, hosts, start.GetPort())
	if err != nil {
		return status.Errorf(codes.FailedPrecondition, "connect to port %d of pod %s/%s: %v", start.GetPort(), start.GetNamespace(), start.GetPod(), err)
	}
	return join(stream, conn)
}

// dialInside connects to a port of the first host that answers, in a network
// namespace; an empty path is the node's own.
func dialInside(ctx context.Context, netns string, hosts []string, port uint32) (net.Conn, error) {
	var conn net.Conn
	dial := func() error {
		var errs []error
		for _, host := range hosts {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
			if err == nil {
				conn = c
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	if netns == "" {
		return conn, dial()
	}
	return conn, network.InNetNS(netns, dial)
}

// join copies in both directions until both have ended.
func join(stream grpc.BidiStreamingServer[nodev1.PortForwardRequest, nodev1.PortForwardResponse], conn net.Conn) error {
	stop := context.AfterFunc(stream.Context(), func() { _ = conn.Close() }) // ends both copies
	defer stop()
	defer conn.Close()
	go func() {
		_, err := io.Copy(conn, &chunkReader{next: func() ([]byte, error) {
			req, err := stream.Recv()
			return req.GetData(), err
		}})
		if half, ok := conn.(*net.TCPConn); ok && err == nil {
			_ = half.CloseWrite() // the other direction tells how it ended
			return
		}
		_ = conn.Close()
	}()
	_, err := io.Copy(chunkWriter(func(b []byte) error {
		return stream.Send(&nodev1.PortForwardResponse{Data: b})
	}), conn)
	if err != nil && stream.Context().Err() == nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("forward the connection: %w", err)
	}
	return nil
}

package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/internal/identity"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

const (
	scrapeTime = 5 * time.Second
	// maxPage, maxPath and maxHeaders bound what is read of a pod, in bytes.
	maxPage    = 4 << 20
	maxPath    = 2048
	maxHeaders = 64 << 10
	// textFormat asks for the Prometheus text format.
	textFormat = "text/plain;version=0.0.4;q=1,*/*;q=0.1"
)

// errPageTooLarge says that a pod's page is larger than maxPage.
var errPageTooLarge = fmt.Errorf("the page is larger than %d bytes", maxPage)

// dialer connects to host:port.
type dialer func(ctx context.Context, address string) (net.Conn, error)

// Scrape reads a page of metrics from within a pod's network namespace.
func (s *Server) Scrape(ctx context.Context, req *nodev1.ScrapeRequest) (*nodev1.ScrapeResponse, error) {
	if id := identity.FromContext(ctx); id.Name != identity.Controller {
		return nil, status.Errorf(codes.PermissionDenied, "%q may not read pods' metrics", id.Name)
	}
	target, err := pageOf(req)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	info, err := s.pods.Pod(ctx, req.GetNamespace(), req.GetPod())
	if err != nil {
		return nil, asStatus(err)
	}
	if uid := req.GetPodUid(); uid != "" && uid != string(info.Object.UID) {
		return nil, asStatus(fmt.Errorf("pod %s/%s with the UID %s: %w", req.GetNamespace(), req.GetPod(), uid, podworker.ErrNoPod))
	}
	if info.NetNS == "" || len(info.Object.Status.PodIPs) == 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "pod %s/%s has no network of its own, or not yet", req.GetNamespace(), req.GetPod())
	}
	target.Host = net.JoinHostPort(info.Object.Status.PodIPs[0].IP, strconv.Itoa(int(req.GetPort())))
	ctx, cancel := context.WithTimeout(ctx, scrapeTime)
	defer cancel()
	page, err := readPage(ctx, target, within(info, req.GetPort()))
	switch {
	case errors.Is(err, errPageTooLarge):
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	case err != nil:
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &nodev1.ScrapeResponse{Page: page, Time: timestamppb.Now()}, nil
}

// pageOf returns the page that a request names, without its host.
func pageOf(req *nodev1.ScrapeRequest) (*url.URL, error) {
	if req.GetPort() == 0 || req.GetPort() > 65535 {
		return nil, fmt.Errorf("port: %d is not between 1 and 65535", req.GetPort())
	}
	if len(req.GetPath()) > maxPath {
		return nil, fmt.Errorf("path: %d bytes are more than %d", len(req.GetPath()), maxPath)
	}
	target, err := url.ParseRequestURI(req.GetPath())
	if err != nil || !strings.HasPrefix(req.GetPath(), "/") {
		return nil, fmt.Errorf("path: %q is not a path that begins with a slash", req.GetPath())
	}
	switch req.GetScheme() {
	case nodev1.Scheme_SCHEME_UNSPECIFIED, nodev1.Scheme_SCHEME_HTTP:
		target.Scheme = "http"
	case nodev1.Scheme_SCHEME_HTTPS:
		target.Scheme = "https"
	default:
		return nil, fmt.Errorf("scheme: %d is neither HTTP nor HTTPS", req.GetScheme())
	}
	return target, nil
}

// within returns a dialer that connects to a port of the pod's own addresses,
// whatever address it is given.
func within(info podworker.PodInfo, port uint32) dialer {
	hosts := make([]string, len(info.Object.Status.PodIPs))
	for i, ip := range info.Object.Status.PodIPs {
		hosts[i] = ip.IP
	}
	return func(ctx context.Context, _ string) (net.Conn, error) { return dialInside(ctx, info.NetNS, hosts, port) }
}

// readPage gets a page. Anything but a whole page of status 200 is an error.
func readPage(ctx context.Context, target *url.URL, dial dialer) ([]byte, error) {
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) },
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the connection does not leave the pod
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeaders,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask for the page: %w", err)
	}
	req.Header.Set("Accept", textFormat)
	req.Header.Set("User-Agent", "navarch-agent")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for the page: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %q: %s", target, resp.Status)
	}
	page, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the page: %w", err)
	case len(page) > maxPage:
		return nil, errPageTooLarge
	}
	return page, nil
}

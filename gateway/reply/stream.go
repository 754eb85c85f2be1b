package reply

import (
	"mime"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// compressFrom is the size from which bodies are compressed.
const compressFrom = 128 << 10

// Stream writes a body of unknown size: small ones as they are, others
// compressed if the client accepts that. Close it to end the body.
type Stream struct {
	w       http.ResponseWriter
	code    int
	gzip    bool // the client accepts it
	held    []byte
	started bool
	zip     *gzip.Writer
}

// NewStream begins a body. Headers must be set before the first Write.
func NewStream(w http.ResponseWriter, r *http.Request, code int) *Stream {
	return &Stream{w: w, code: code, gzip: AcceptsGzip(r)}
}

// Started says whether the header has been sent, so that no error response is
// possible any more.
func (s *Stream) Started() bool { return s.started }

// Write holds the first bytes back until it is known whether to compress.
func (s *Stream) Write(b []byte) (int, error) {
	switch {
	case s.zip != nil:
		return s.zip.Write(b)
	case s.started:
		return s.w.Write(b)
	case !s.gzip:
		s.start()
		return s.w.Write(b)
	case len(s.held)+len(b) < compressFrom:
		s.held = append(s.held, b...)
		return len(b), nil
	}
	if err := s.startCompressed(); err != nil {
		return 0, err
	}
	return s.zip.Write(b)
}

func (s *Stream) start() {
	s.started = true
	if s.gzip {
		s.w.Header().Add("Vary", "Accept-Encoding")
	}
	s.w.WriteHeader(s.code)
}

// BeginGzip sends the header of a body that is compressed.
func BeginGzip(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Add("Vary", "Accept-Encoding")
	w.WriteHeader(code)
}

func (s *Stream) startCompressed() error {
	s.started = true
	BeginGzip(s.w, s.code)
	zip, err := gzip.NewWriterLevel(s.w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	s.zip = zip
	held := s.held
	s.held = nil
	_, err = zip.Write(held)
	return err
}

// Close writes what is held back and ends the body.
func (s *Stream) Close() error {
	if s.zip != nil {
		return s.zip.Close()
	}
	if !s.started {
		s.start()
		_, err := s.w.Write(s.held)
		return err
	}
	return nil
}

// AcceptsGzip says whether the client takes gzip.
func AcceptsGzip(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(header, ",") {
			// A content coding with its quality has the shape of a media type.
			coding, params, err := mime.ParseMediaType(part)
			if err == nil && coding == "gzip" && strings.Trim(params["q"], "0.") != "" || err == nil && coding == "gzip" && params["q"] == "" {
				return true
			}
		}
	}
	return false
}

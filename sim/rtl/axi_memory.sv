// An AXI4 memory for simulation, as fast as its bus.
//
// Reads are answered in the order in which they came: the first beat can be taken READ_LATENCY clock edges after the
// address was (at least 2), then one beat per cycle, also from one burst to the next while up to OUTSTANDING are under
// way. Writes take one beat per cycle once their address has come; the answer can be taken WRITE_LATENCY (at least 2)
// edges after the last beat. A read samples memory when its beat appears.
//
// INCR bursts of full bus words. What lies outside of DEPTH words answers DECERR and is not written; any other burst
// type or size, or a wlast in the wrong place, answers SLVERR.
//
// +image=FILE is loaded at time 0 and on a rising edge of `load` ($readmemh, one bus word per line, the rest is zero).
// On a rising edge of `dump`, words +first=N to +last=N (all by default) are written to +dump=FILE ($writememh). The
// memory of a card's chip has its number behind these names, +image0=FILE, and reads its image on `load` only. No
// output is ever X or Z.
//
// With +stall_chance=N, about N of 256 transfers are late by 1 to +stall_longest=N cycles (8 by default). Which, and by
// how much, is a function of +stall_seed=N, channel, transaction and beat, both counted from reset: `stall` below and
// sim/rtl/stalls.py. An address or a write beat is late if its ready stays low for so many cycles after the transfer
// before it (or reset); a read beat or an answer, if it is shown so many cycles after the one before was shown, or later.
module axi_memory #(
    parameter DATA_BITS = 64,
    parameter ADDR_BITS = 40,
    parameter ID_BITS = 2,
    parameter DEPTH = 1024,
    parameter READ_LATENCY = 40,
    parameter WRITE_LATENCY = 10,
    parameter OUTSTANDING = 64,
    parameter NUMBERED = 0
) (
    input  wire [7:0]             number,
    input  wire                   clk,
    input  wire                   rst,
    input  wire                   load,
    input  wire                   dump,
    input  wire [ID_BITS-1:0]     s_axi_awid,
    input  wire [ADDR_BITS-1:0]   s_axi_awaddr,
    input  wire [7:0]             s_axi_awlen,
    input  wire [2:0]             s_axi_awsize,
    input  wire [1:0]             s_axi_awburst,
    input  wire                   s_axi_awvalid,
    output wire                   s_axi_awready,
    input  wire [DATA_BITS-1:0]   s_axi_wdata,
    input  wire [DATA_BITS/8-1:0] s_axi_wstrb,
    input  wire                   s_axi_wlast,
    input  wire                   s_axi_wvalid,
    output wire                   s_axi_wready,
    output reg  [ID_BITS-1:0]     s_axi_bid,
    output reg  [1:0]             s_axi_bresp,
    output reg                    s_axi_bvalid,
    input  wire                   s_axi_bready,
    input  wire [ID_BITS-1:0]     s_axi_arid,
    input  wire [ADDR_BITS-1:0]   s_axi_araddr,
    input  wire [7:0]             s_axi_arlen,
    input  wire [2:0]             s_axi_arsize,
    input  wire [1:0]             s_axi_arburst,
    input  wire                   s_axi_arvalid,
    output wire                   s_axi_arready,
    output reg  [ID_BITS-1:0]     s_axi_rid,
    output reg  [DATA_BITS-1:0]   s_axi_rdata,
    output reg  [1:0]             s_axi_rresp,
    output reg                    s_axi_rlast,
    output reg                    s_axi_rvalid,
    input  wire                   s_axi_rready
);
    localparam BYTES = DATA_BITS / 8;
    localparam SHIFT = $clog2(BYTES);
    localparam WORD_BITS = ADDR_BITS - SHIFT;
    localparam [2:0] FULL_WORD = SHIFT[2:0];
    localparam DEPTH_BITS = $clog2(DEPTH);
    localparam SLOT_BITS = $clog2(OUTSTANDING);
    localparam [1:0] OKAY = 0, SLVERR = 2, DECERR = 3;
    localparam [1:0] INCR = 1;

    reg [DATA_BITS-1:0] words [0:DEPTH-1];
    reg [31:0] now;

    string image_path, dump_path;
    reg [32*8-1:0] key;
    integer first, last, i;

    // The name of a plusarg of this memory: `name`, its number if it has one, and `rest`.
    task name_plusarg(input [8*8-1:0] name, input [3*8-1:0] rest);
        if (NUMBERED != 0)
            $sformat(key, "%0s%0d%0s", name, number, rest);
        else
            $sformat(key, "%0s%0s", name, rest);
    endtask

    task load_image;
        begin
            for (i = 0; i < DEPTH; i = i + 1)
                words[i] = {DATA_BITS{1'b0}};
            name_plusarg("image", "=%s");
            if ($value$plusargs(key, image_path))
                $readmemh(image_path, words);
        end
    endtask

    initial if (NUMBERED == 0) load_image;
    always @(posedge load) load_image;

    always @(posedge dump) begin
        name_plusarg("first", "=%d");
        if (!$value$plusargs(key, first))
            first = 0;
        name_plusarg("last", "=%d");
        if (!$value$plusargs(key, last))
            last = DEPTH - 1;
        name_plusarg("dump", "=%s");
        if ($value$plusargs(key, dump_path))
            $writememh(dump_path, words, first, last);
    end

    function [1:0] response(input legal, input [WORD_BITS-1:0] word);
        response = !legal ? SLVERR : word >= DEPTH ? DECERR : OKAY;
    endfunction

    localparam [31:0] AR = 0, R = 1, AW = 2, W = 3, B = 4;
    reg [31:0] stall_seed, stall_chance, stall_longest;

    initial begin
        if (!$value$plusargs("stall_seed=%d", stall_seed))
            stall_seed = 0;
        if (!$value$plusargs("stall_chance=%d", stall_chance))
            stall_chance = 0;
        if (!$value$plusargs("stall_longest=%d", stall_longest))
            stall_longest = 8;
    end

    // lowbias32 of C. Wellons' hash-prospector, public domain.
    function [31:0] mix(input [31:0] x);
        reg [31:0] y;
        begin
            y = (x ^ (x >> 16)) * 32'h7feb352d;
            y = (y ^ (y >> 15)) * 32'h846ca68b;
            mix = y ^ (y >> 16);
        end
    endfunction

    function [31:0] stall(input [31:0] channel, input [31:0] transaction, input [31:0] beat);
        reg [31:0] drawn;
        begin
            drawn = mix(mix(mix(mix(stall_seed) ^ channel) ^ transaction) ^ beat);
            stall = {24'd0, drawn[7:0]} < stall_chance ? 1 + {8'd0, drawn[31:8]} % stall_longest : 0;
        end
    endfunction

    reg [31:0] ar_count, r_count, aw_count, w_count, b_count;
    reg [31:0] ar_late, r_late, aw_late, w_late, b_late;

    // Reads: a queue of bursts with the time at which each came, and the burst whose beats are being answered.
    reg [WORD_BITS-1:0] ar_word  [0:OUTSTANDING-1];
    reg [7:0]           ar_len   [0:OUTSTANDING-1];
    reg [ID_BITS-1:0]   ar_id    [0:OUTSTANDING-1];
    reg                 ar_legal [0:OUTSTANDING-1];
    reg [31:0]          ar_time  [0:OUTSTANDING-1];
    reg [SLOT_BITS:0]   ar_head, ar_tail;
    wire [SLOT_BITS-1:0] ar_pop = ar_head[SLOT_BITS-1:0], ar_push = ar_tail[SLOT_BITS-1:0];

    reg                 r_active, r_legal;
    reg [WORD_BITS-1:0] r_word;
    reg [7:0]           r_left, r_beat;
    reg [ID_BITS-1:0]   r_id;

    assign s_axi_arready = !rst && ar_late == 0 && ar_tail - ar_head != OUTSTANDING;
    wire ar_due = ar_head != ar_tail && now - ar_time[ar_pop] >= READ_LATENCY - 1;

    wire                 beat_legal = r_active ? r_legal : ar_legal[ar_pop];
    wire [WORD_BITS-1:0] beat_word = r_active ? r_word : ar_word[ar_pop];
    wire [7:0]           beat_left = r_active ? r_left : ar_len[ar_pop];
    wire [ID_BITS-1:0]   beat_id = r_active ? r_id : ar_id[ar_pop];
    wire [1:0]           beat_resp = response(beat_legal, beat_word);
    wire                 beat_due = (r_active || ar_due) && r_late == 0;

    always @(posedge clk) begin
        now <= now + 1;
        if (ar_late != 0)
            ar_late <= ar_late - 1;
        if (r_late != 0)
            r_late <= r_late - 1;
        if (s_axi_arvalid && s_axi_arready) begin
            ar_count <= ar_count + 1;
            ar_late <= stall(AR, ar_count + 1, 0);
            ar_word[ar_push] <= s_axi_araddr[ADDR_BITS-1:SHIFT];
            ar_len[ar_push] <= s_axi_arlen;
            ar_id[ar_push] <= s_axi_arid;
            ar_legal[ar_push] <= s_axi_arburst == INCR && s_axi_arsize == FULL_WORD;
            ar_time[ar_push] <= now;
            ar_tail <= ar_tail + 1;
        end
        if (!s_axi_rvalid || s_axi_rready) begin
            s_axi_rvalid <= beat_due;
            if (beat_due) begin
                r_count <= beat_left == 0 ? r_count + 1 : r_count;
                r_beat <= beat_left == 0 ? 0 : r_beat + 1;
                r_late <= beat_left == 0 ? stall(R, r_count + 1, 0) : stall(R, r_count, {24'd0, r_beat} + 1);
                s_axi_rid <= beat_id;
                s_axi_rresp <= beat_resp;
                s_axi_rdata <= beat_resp == OKAY ? words[beat_word[DEPTH_BITS-1:0]] : {DATA_BITS{1'b0}};
                s_axi_rlast <= beat_left == 0;
                r_active <= beat_left != 0;
                r_legal <= beat_legal;
                r_word <= beat_word + 1;
                r_left <= beat_left - 1;
                r_id <= beat_id;
                if (!r_active)
                    ar_head <= ar_head + 1;
            end
        end
        if (rst) begin
            now <= 0;
            ar_head <= 0;
            ar_tail <= 0;
            r_active <= 0;
            s_axi_rvalid <= 0;
            ar_count <= 0;
            ar_late <= stall(AR, 0, 0);
            r_count <= 0;
            r_beat <= 0;
            r_late <= stall(R, 0, 0);
        end
    end

    // Writes: a queue of addresses, the burst whose beats are coming, and a queue of answers.
    reg [WORD_BITS-1:0] aw_word  [0:OUTSTANDING-1];
    reg [7:0]           aw_len   [0:OUTSTANDING-1];
    reg [ID_BITS-1:0]   aw_id    [0:OUTSTANDING-1];
    reg                 aw_legal [0:OUTSTANDING-1];
    reg [SLOT_BITS:0]   aw_head, aw_tail;
    wire [SLOT_BITS-1:0] aw_pop = aw_head[SLOT_BITS-1:0], aw_push = aw_tail[SLOT_BITS-1:0];

    reg [ID_BITS-1:0]   b_id   [0:OUTSTANDING-1];
    reg [1:0]           b_resp [0:OUTSTANDING-1];
    reg [31:0]          b_time [0:OUTSTANDING-1];
    reg [SLOT_BITS:0]   b_head, b_tail;
    wire [SLOT_BITS-1:0] b_pop = b_head[SLOT_BITS-1:0], b_push = b_tail[SLOT_BITS-1:0];

    reg [7:0] w_beat;
    reg [1:0] w_resp;
    reg [DATA_BITS-1:0] merged;

    assign s_axi_awready = !rst && aw_late == 0 && aw_tail - aw_head != OUTSTANDING;
    assign s_axi_wready = !rst && w_late == 0 && aw_head != aw_tail && b_tail - b_head != OUTSTANDING;
    wire b_due = b_head != b_tail && now - b_time[b_pop] >= WRITE_LATENCY - 1 && b_late == 0;

    wire [WORD_BITS-1:0] write_word = aw_word[aw_pop] + {{WORD_BITS-8{1'b0}}, w_beat};
    wire w_placed = s_axi_wlast == (w_beat == aw_len[aw_pop]);
    wire [1:0] write_resp = response(aw_legal[aw_pop] && w_placed, write_word);

    always @(posedge clk) begin
        if (aw_late != 0)
            aw_late <= aw_late - 1;
        if (w_late != 0)
            w_late <= w_late - 1;
        if (b_late != 0)
            b_late <= b_late - 1;
        if (s_axi_awvalid && s_axi_awready) begin
            aw_count <= aw_count + 1;
            aw_late <= stall(AW, aw_count + 1, 0);
            aw_word[aw_push] <= s_axi_awaddr[ADDR_BITS-1:SHIFT];
            aw_len[aw_push] <= s_axi_awlen;
            aw_id[aw_push] <= s_axi_awid;
            aw_legal[aw_push] <= s_axi_awburst == INCR && s_axi_awsize == FULL_WORD;
            aw_tail <= aw_tail + 1;
        end
        if (s_axi_wvalid && s_axi_wready) begin
            if (write_resp == OKAY) begin
                merged = words[write_word[DEPTH_BITS-1:0]];
                for (i = 0; i < BYTES; i = i + 1)
                    if (s_axi_wstrb[i])
                        merged[8*i +: 8] = s_axi_wdata[8*i +: 8];
                words[write_word[DEPTH_BITS-1:0]] <= merged;
            end
            w_count <= s_axi_wlast ? w_count + 1 : w_count;
            w_late <= s_axi_wlast ? stall(W, w_count + 1, 0) : stall(W, w_count, {24'd0, w_beat} + 1);
            w_beat <= s_axi_wlast ? 0 : w_beat + 1;
            w_resp <= s_axi_wlast ? OKAY : w_resp | write_resp;
            if (s_axi_wlast) begin
                b_id[b_push] <= aw_id[aw_pop];
                b_resp[b_push] <= w_resp | write_resp;
                b_time[b_push] <= now;
                b_tail <= b_tail + 1;
                aw_head <= aw_head + 1;
            end
        end
        if (!s_axi_bvalid || s_axi_bready) begin
            s_axi_bvalid <= b_due;
            if (b_due) begin
                s_axi_bid <= b_id[b_pop];
                s_axi_bresp <= b_resp[b_pop];
                b_head <= b_head + 1;
                b_count <= b_count + 1;
                b_late <= stall(B, b_count + 1, 0);
            end
        end
        if (rst) begin
            aw_head <= 0;
            aw_tail <= 0;
            b_head <= 0;
            b_tail <= 0;
            w_beat <= 0;
            w_resp <= OKAY;
            s_axi_bvalid <= 0;
            aw_count <= 0;
            aw_late <= stall(AW, 0, 0);
            w_count <= 0;
            w_late <= stall(W, 0, 0);
            b_count <= 0;
            b_late <= stall(B, 0, 0);
        end
    end

    // Before the first reset, too, nothing is unknown.
    initial begin
        now = 0;
        {ar_head, ar_tail, aw_head, aw_tail, b_head, b_tail} = 0;
        {r_active, r_legal, r_word, r_left, r_beat, r_id, w_beat, w_resp} = 0;
        {ar_count, r_count, aw_count, w_count, b_count, ar_late, r_late, aw_late, w_late, b_late} = 0;
        {s_axi_bid, s_axi_bresp, s_axi_bvalid} = 0;
        {s_axi_rid, s_axi_rdata, s_axi_rresp, s_axi_rlast, s_axi_rvalid} = 0;
    end
endmodule

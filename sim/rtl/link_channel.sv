// One direction of a cable between two links: delay and skew of lanes, their order and polarity, bit errors, bursts,
// dead lanes. In the transmitter's clock, which is also what the receiver recovers. Nothing here calls Python.

module link_channel #(
    parameter LANES = 8,
    parameter LANE_BITS = 64,
    parameter DEPTH = 64           // lane words of delay and skew, a power of two
) (
    input  wire                        clk,
    input  wire [LANES*LANE_BITS-1:0]  i_lanes,
    output wire [LANES*LANE_BITS-1:0]  o_lanes,
    input  wire [63:0]                 seed,     // of the errors; taken while ``load`` is high
    input  wire                        load,
    input  wire [15:0]                 delay,    // bits, of all lanes
    input  wire [LANES*16-1:0]         skew,     // bits more, per input lane; up to (DEPTH - 2) words together
    input  wire [LANES*4-1:0]          order,    // output lane l is the input lane order[l]
    input  wire [LANES-1:0]            invert,   // input lanes that change polarity
    input  wire [LANES-1:0]            dead,     // input lanes that carry zeros
    input  wire [63:0]                 interval, // mean number of bits from one bit error to the next; 0: none
    input  wire                        burst,    // while high, every bit is random
    output reg  [31:0]                 errors    // bits that were changed, bursts not counted
);
    localparam BITS = LANES * LANE_BITS;

    wire [BITS-1:0] delayed;
    reg  [BITS-1:0] wrong;
    reg  [$clog2(DEPTH)-1:0] place;
    reg  [63:0] state;
    reg  [63:0] gap;               // bits to the next error
    reg  [63:0] drawn_for;         // the interval that it was drawn for

    genvar lane;
    generate
        for (lane = 0; lane < LANES; lane = lane + 1) begin : lanes
            reg  [LANE_BITS-1:0] past [0:DEPTH-1];
            wire [LANE_BITS-1:0] now = i_lanes[lane*LANE_BITS +: LANE_BITS];
            wire [15:0] bits = delay + skew[lane*16 +: 16];
            wire [15:0] words = bits / LANE_BITS;
            wire [15:0] rest = bits % LANE_BITS;
            wire [$clog2(DEPTH)-1:0] at = place - words[$clog2(DEPTH)-1:0];
            wire [$clog2(DEPTH)-1:0] older = at - 1'b1;
            wire [2*LANE_BITS-1:0] both = {words == 0 ? now : past[at], past[older]};
            wire [2*LANE_BITS-1:0] shifted = both >> (LANE_BITS - rest);
            assign delayed[lane*LANE_BITS +: LANE_BITS] = dead[lane] ? {LANE_BITS{1'b0}}
                : shifted[LANE_BITS-1:0] ^ wrong[lane*LANE_BITS +: LANE_BITS] ^ {LANE_BITS{invert[lane]}};
            assign o_lanes[lane*LANE_BITS +: LANE_BITS] = delayed[order[lane*4 +: 4]*LANE_BITS +: LANE_BITS];
            integer word;
            initial for (word = 0; word < DEPTH; word = word + 1) past[word] = 0;
            always @(posedge clk) past[place] <= now;
        end
    endgenerate

    // xorshift64 (Marsaglia, 2003)
    function [63:0] xorshift(input [63:0] x);
        begin
            xorshift = x ^ (x << 13);
            xorshift = xorshift ^ (xorshift >> 7);
            xorshift = xorshift ^ (xorshift << 17);
        end
    endfunction

    // Bits from an error to the next: geometric distribution by inversion.
    function [63:0] draw(input [63:0] random, input [63:0] mean);
        real u;
        begin
            u = ($itor(random[62:32]) + 1.0) / 2147483649.0;
            draw = 1 + $rtoi(-$ln(u) * (mean > 64'd2000000000 ? 2.0e9 : $itor(mean[31:0])));
        end
    endfunction

    initial begin
        place = 0;
        state = 64'h9E3779B97F4A7C15;
        gap = 0;
        drawn_for = 0;
        wrong = 0;
        errors = 0;
    end

    integer i;
    reg [BITS-1:0] mask;
    always @(posedge clk) begin
        mask = 0;
        place <= place + 1'b1;
        if (interval != drawn_for) begin
            drawn_for = interval;
            state = xorshift(state);
            gap = draw(state, interval);
        end
        if (interval != 0) begin
            while (gap < BITS) begin
                mask[gap] = ~mask[gap];
                errors = errors + 1;
                state = xorshift(state);
                gap = gap + draw(state, interval);
            end
            gap = gap - BITS;
        end
        if (burst)
            for (i = 0; i < BITS; i = i + 32) begin
                state = xorshift(state);
                mask[i +: 32] = mask[i +: 32] ^ state[47:16];
            end
        if (load) begin
            state = seed;
            errors = 0;
        end
        wrong <= mask;
    end
endmodule
